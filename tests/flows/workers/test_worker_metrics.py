"""A worker's metrics, as Prometheus reads them, and its logs as JSON."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas import FlowRun
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists
from support.command import ROOT, Relevo
from support.fleet import free_port

from flows.workers import measured
from flows.workers.measured import Measured, Reporter
from flows.workers.metrics import Metrics
from tasks.progress import CACHED, Event
from tasks.store.s3.fetched import count_fetched

OWN = """
from prefect import flow

from tasks.progress import CACHED, Event, emit
from tasks.store.s3.fetched import count_fetched


@flow(name="own")
def work(fail: bool = False) -> None:
    emit(Event("train x", CACHED))
    count_fetched(1_000_000)
    if fail:
        raise ValueError("on purpose")
"""
LOGS_AS_JSON = {"PREFECT_LOGGING_HANDLERS_CONSOLE_FORMATTER": "json"}


def number_of(metrics: Metrics, name: str) -> float | None:
    return metrics.registry.get_sample_value(name)


def test_what_runs_report_is_added_up(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics, written = Metrics(), iter([True, False, True, True, True])
    first, second = (Reporter(metrics.pipe, name) for name in ("first", "second"))
    training = SimpleNamespace(images_per_second=500.0, row={})
    monkeypatch.setattr(measured, "EVERY", 0.0)
    write = os.write

    def write_some(pipe: int, line: bytes) -> int:
        if not next(written):
            raise BlockingIOError
        return write(pipe, line)

    monkeypatch.setattr(os, "write", write_some)
    first(Event("train a", detail=training))
    count_fetched(10)
    first(Event("train a", CACHED))  # the pipe is full
    first(Event("train a", detail=training))
    second(Event("train b", detail=training))
    os.write(metrics.pipe, b"no line of ours\n")
    until(lambda: number_of(metrics, "relevo_images_per_second") == 1000.0)
    assert number_of(metrics, "relevo_cache_hits_total") == 1
    fetched = number_of(metrics, "relevo_bytes_fetched_total")
    assert fetched
    assert fetched >= 10

    metrics.add(Measured("second"))
    assert number_of(metrics, "relevo_images_per_second") == 500.0


def until(holds: object, seconds: float = 60) -> None:
    assert callable(holds)
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.fixture
def client(server: str) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


@pytest.mark.slow
def test_prometheus_reads_what_a_worker_did(
    client: SyncPrefectClient, server: str, tmp_path: Path
) -> None:
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules/own.py").write_text(OWN)
    with suppress(ObjectAlreadyExists):
        client.create_work_pool(WorkPoolCreate(name="relevo-cpu", type="process"))
    flow = client.create_flow_from_name("own")
    deployment = client.create_deployment(
        flow, name="x", entrypoint="own.work", work_pool_name="relevo-cpu"
    )
    runs = [
        client.create_flow_run_from_deployment(deployment, parameters={"fail": fail})
        for fail in (False, True)
    ]
    port = free_port()
    more = {
        "PREFECT_API_URL": server,
        "PREFECT_HOME": str(tmp_path / "home"),
        "PYTHONPATH": f"{ROOT}:{tmp_path / 'modules'}",
        **LOGS_AS_JSON,
    }
    with (tmp_path / "log").open("wb") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", "flows", "worker", "--pool", "relevo-cpu"],
            cwd=tmp_path,
            env={**os.environ, **more, "RELEVO_METRICS_PORT": str(port)},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            until(lambda: ends_of(client, runs) == {"COMPLETED", "FAILED"}, 240)
            expected = {
                'relevo_runs_ended_total{flow="own",state="completed"} 1.0',
                'relevo_runs_ended_total{flow="own",state="failed"} 1.0',
                'relevo_runs_under_way{flow="own"} 0.0',
                "relevo_runs_waiting 0.0",
                "relevo_cache_hits_total 2.0",
                "relevo_bytes_fetched_total 2e+06",
                "relevo_images_per_second 0.0",
            }
            until(lambda: not expected - lines_at(port))
        finally:
            worker.terminate()
            ended = worker.wait(60)
            client.delete_deployment(deployment)
    assert ended == 128 + signal.SIGTERM
    said = [
        json.loads(line) for line in (tmp_path / "log").read_text().splitlines() if line[:1] == "{"
    ]
    assert any("ValueError: on purpose" in each["msg"] for each in said)


def ends_of(client: SyncPrefectClient, runs: list[FlowRun]) -> set[str]:
    states = [client.read_flow_run(run.id).state for run in runs]
    return {state.type.value for state in states if state}


def lines_at(port: int) -> set[str]:
    with suppress(httpx.TransportError):
        return set(httpx.get(f"http://127.0.0.1:{port}/metrics").text.splitlines())
    return set()


@pytest.mark.parametrize("given", ["0", "port", "65536", "host:", "9400:x"])
def test_wrong_port_is_one_line_and_status_2(given: str, relevo: Relevo) -> None:
    done = relevo("worker", "--pool", "relevo-cpu", "--metrics-port", given)
    assert done.status == 2
    assert f"--metrics-port {given!r}: expected a port" in done.err
    assert len(done.err.splitlines()) == 1


def test_port_in_use_is_one_line_and_status_2(relevo: Relevo, server: str) -> None:
    taken = server.split(":")[2].partition("/")[0]
    env = {"PREFECT_API_URL": server, "RELEVO_METRICS_PORT": taken}
    done = relevo("worker", "--pool", "relevo-cpu", env=env)
    assert done.status == 2
    assert f"--metrics-port 127.0.0.1:{taken} can't be used (Address already in use)" in done.err


def test_unknown_pool_is_one_line_and_status_2(relevo: Relevo, server: str) -> None:
    done = relevo("worker", "--pool", "huge", env={"PREFECT_API_URL": server})
    assert done.status == 2
    assert "--pool huge: the server has no such work pool; expected relevo-cpu" in done.err
