"""A fleet on 127.0.0.1: Prefect's server, an S3 server, and "machines" that share no folder."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
import httpx
import psutil

from support.command import ROOT, SMALL

KEYS = {"AWS_ACCESS_KEY_ID": "fleet", "AWS_SECRET_ACCESS_KEY": "fleet-secret"}
LIMITS = {"cpu": 3, "gpu": 1}  # flow runs of a worker at a time
SETTINGS: dict[str, Any] = {}
for _word in SMALL:
    _path, _, _value = _word.removeprefix("--set=").partition("=")
    SETTINGS[_path] = json.loads(_value)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Fleet:
    """Starts and stops servers and workers; `api` is the address of Prefect's server, `store` of the bucket."""

    def __init__(self, folder: Path, database: str | None = None) -> None:
        from moto.server import ThreadedMotoServer

        self.folder = folder
        self._moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        self._moto.start()
        host, port = self._moto.get_host_and_port()
        self.aws = {
            **KEYS,
            "AWS_ENDPOINT_URL_S3": f"http://{host}:{port}",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        self.s3 = boto3.client(
            "s3",
            endpoint_url=self.aws["AWS_ENDPOINT_URL_S3"],
            region_name="us-east-1",
            aws_access_key_id="fleet",
            aws_secret_access_key="fleet-secret",
        )
        # All moto servers in this process share one state.
        self.bucket = f"fleet-{uuid.uuid4().hex}"
        self.s3.create_bucket(Bucket=self.bucket)
        self.store = f"s3://{self.bucket}/night"
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.api = f"{self.url}/api"
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        self._metrics_ports: dict[str, int] = {}
        settings = {
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "5",
            "PREFECT_SERVER_SERVICES_SCHEDULER_INSERT_BATCH_SIZE": "50",
            "PREFECT_SERVER_SERVICES_SCHEDULER_MIN_SCHEDULED_TIME": "PT30S",
            "PREFECT_SERVER_SERVICES_SCHEDULER_MAX_RUNS": "5",
        }
        if database:
            settings["PREFECT_API_DATABASE_CONNECTION_URL"] = database
        self._server = self._start("server", ["flows", "server", "--port", str(port)], settings)
        try:
            self.until(self._healthy, 600)
        except AssertionError:
            self.stop()
            raise

    def _healthy(self) -> bool:
        try:
            return httpx.get(f"{self.api}/health", timeout=2).status_code == 200
        except httpx.TransportError:
            return False

    def environment(self, machine: str) -> dict[str, str]:
        """The environment of a machine's processes: a home, a cache and a Prefect profile of its own."""
        personal = ("PREFECT_", "RELEVO_", "AWS_", "XDG_", "HOME")
        rest = {name: value for name, value in os.environ.items() if not name.startswith(personal)}
        home = self.folder / machine
        home.mkdir(parents=True, exist_ok=True)
        own = {"HOME": str(home), "PREFECT_HOME": str(home / "p"), "PYTHONPATH": str(ROOT)}
        return {**rest, **own, "PREFECT_API_REQUEST_TIMEOUT": "300"}

    def _start(
        self, machine: str, words: list[str], more: dict[str, str], log: str = "log"
    ) -> subprocess.Popen[bytes]:
        environment = {**self.environment(machine), **more}
        with (self.folder / machine / log).open("ab") as file:
            return subprocess.Popen(
                [sys.executable, "-m", *words],
                cwd=self.folder / machine,
                env=environment,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def start_machine(self, machine: str) -> None:
        """Start a worker for each pool."""
        for pool in LIMITS:
            self.start_worker(f"{machine}-{pool}")

    def start_worker(self, name: str) -> None:
        """Start the worker MACHINE-cpu or MACHINE-gpu."""
        machine, _, pool = name.partition("-")
        more = {
            **self.aws,
            "PREFECT_API_URL": self.api,
            "RELEVO_STORE": self.store,
            "RELEVO_METRICS_PORT": str(self._metrics_ports.setdefault(name, free_port())),
        }
        limit = str(LIMITS[pool])
        words = ["flows", "worker", "--pool", f"relevo-{pool}", "--name", name, "--limit", limit]
        self.workers[name] = self._start(machine, words, more, f"{name}.log")

    def metrics(self, worker: str) -> dict[str, float]:
        """What a worker tells Prometheus: numbers by name and labels."""
        url = f"http://127.0.0.1:{self._metrics_ports[worker]}/metrics"
        lines = httpx.get(url, timeout=60).text.splitlines()
        named = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name: float(number) for name, _, number in named}

    def kill_machine(self, machine: str) -> None:
        """Kill the machine's workers and their child processes, as a power failure does."""
        for name in [name for name in self.workers if name.startswith(f"{machine}-")]:
            self.kill_worker(name)

    def kill_worker(self, name: str) -> list[psutil.Process]:
        """Kill a worker and its child processes; return the children."""
        worker = self.workers.pop(name)
        process = psutil.Process(worker.pid)
        process.suspend()  # so that it starts no more children
        family = process.children(recursive=True)
        for each in (worker, *family):
            with suppress(psutil.NoSuchProcess):
                each.kill()
        worker.wait()
        return family

    def prefect(self, *words: str) -> str:
        """Run Prefect's command line as an operator does; return its output."""
        more = {"PREFECT_API_URL": self.api, "COLUMNS": "200"}
        done = subprocess.run(
            [sys.executable, "-m", "prefect", "--no-prompt", *words],
            env={**self.environment("operator"), **more},
            cwd=self.folder / "operator",
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def relevo(self, *words: str) -> subprocess.CompletedProcess[str]:
        more = {**self.aws, "PREFECT_API_URL": self.api, "RELEVO_STORE": self.store}
        return subprocess.run(
            [sys.executable, "-m", "flows", *words],
            env={**self.environment("operator"), **more},
            cwd=self.folder / "operator",
            capture_output=True,
            text=True,
            timeout=900,
        )

    def order(self, deployment: str, **parameters: Any) -> str:
        """Start a flow run as Prefect's UI does; return its id."""
        found = self._ask("GET", f"deployments/name/{deployment}")
        path = f"deployments/{found['id']}/create_flow_run"
        once = {"idempotency_key": str(uuid.uuid4())}  # `_ask` may repeat it
        return str(self._ask("POST", path, json={"parameters": parameters, **once})["id"])

    def order_by_command(self, deployment: str, **parameters: Any) -> str:
        """Start a flow run by Prefect's command line, as an operator does; return its id."""
        words = ("deployment", "run", deployment, "--params", json.dumps(parameters))
        printed = self.prefect(*words)
        return next(line.split()[-1] for line in printed.splitlines() if "UUID" in line)

    def _ask(self, method: str, path: str, **body: Any) -> Any:
        # On a slow machine a server may need a minute.
        for timeout in (60, 60, 180):
            with suppress(httpx.TransportError):
                answer = httpx.request(method, f"{self.api}/{path}", timeout=timeout, **body)
                if answer.status_code < 500:
                    return answer.json()
            time.sleep(2)
        raise AssertionError(f"the server doesn't answer: {path}")

    def run(self, run: str) -> dict[str, Any]:
        found: dict[str, Any] = self._ask("GET", f"flow_runs/{run}")
        return found

    def resume(self, run: str, form: dict[str, Any]) -> None:
        """Resume a suspended run as Prefect's UI does when its form is filled in."""
        answer = self._ask("POST", f"flow_runs/{run}/resume", json={"run_input": form})
        assert answer["status"] == "ACCEPT", answer

    def find(self, what: str, **body: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._ask("POST", f"{what}/filter", json=body)
        return found

    def stages_of(self, parent: str) -> dict[str, dict[str, Any]]:
        """The flow runs that an experiment has dispatched, by name."""
        runs = self.find("flow_runs", flow_runs={"parent_flow_run_id": {"any_": [parent]}})
        return {each["name"]: each for each in runs}

    def log_of(self, run: str) -> str:
        lines = self.find("logs", logs={"flow_run_id": {"any_": [run]}})
        return "\n".join(line["message"] for line in sorted(lines, key=lambda x: x["timestamp"]))

    def worker_of(self, run: str) -> set[str]:
        """Names of the workers that have executed the run, from the machines' logs.

        Prefect's log of the run also names workers that requested it and were refused.
        """
        logs = self.folder.glob("*/*-[cg]pu.log")
        return {log.stem for log in logs if f"/runs/flow-run/{run}" in log.read_text()}

    def finish(self, run: str, seconds: float = 1000, state: str = "COMPLETED") -> dict[str, Any]:
        """Wait until a run has ended, which must be in `state`."""
        over = ("COMPLETED", "FAILED", "CANCELLED") + (("CRASHED",) if state == "CRASHED" else ())
        self.until(lambda: self.run(run)["state_type"] in over, seconds)
        ended = self.run(run)
        assert ended["state_type"] == state, f"{ended['state']}\n{self.log_of(run)}"
        return ended

    def summary(self, run: str) -> dict[str, Any]:
        """The summary in the run's folder in the store."""
        key = f"night/runs/{run}/run.json"
        found: dict[str, Any] = json.loads(
            self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        )
        return found

    def keys(self, prefix: str) -> set[str]:
        """The keys in the store that begin with `prefix`, up to a thousand."""
        found = self.s3.list_objects_v2(Bucket=self.bucket, Prefix=f"night/{prefix}")
        return {item["Key"] for item in found.get("Contents", ())}

    @staticmethod
    def until(holds: Callable[[], Any], seconds: float) -> None:
        """Wait until `holds()` is true; check once a second."""
        end = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < end, f"not after {seconds:.0f} s"
            time.sleep(1)

    def stop(self) -> None:
        for machine in {name.partition("-")[0] for name in self.workers}:
            self.kill_machine(machine)
        self._server.terminate()
        try:
            self._server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self._server.pid, signal.SIGKILL)
        self._moto.stop()
