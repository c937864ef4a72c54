"""Kills, damaged files and concurrent runs: the result is always that of an undisturbed run.

RELEVO_KILLS and RELEVO_FLIPS set the number of kills and of flipped bits; CI takes a sample.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support.command import SMALL, WAITING, Chain, Outcome, Relevo, started, wait_for_training

from tasks.runs.lookup import find_model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(6 * 3600)]

KILLS = int(os.environ.get("RELEVO_KILLS", "2"))
FLIPS = int(os.environ.get("RELEVO_FLIPS", "2"))

Run = Callable[..., Outcome]

# A training of enough epochs for many kills to hit it.
LONG = ["--stage=ten_class", "--set=stages.ten_class.epochs=30"]


def words_on(store: Path, *more: str) -> list[str]:
    return ["run", "digits", "--json", "--store", str(store), *SMALL, *more]


@pytest.fixture(scope="module")
def run(relevo: Relevo, server: str) -> Run:
    """The small digits chain on a store."""

    def once(store: Path, *more: str) -> Outcome:
        return relevo(*words_on(store, *more), env={"PREFECT_API_URL": server})

    return once


def digests(outcome: Outcome) -> dict[str, Any]:
    stages = outcome.json["stages"]
    return {name: (stage["model_digest"], stage["metrics"]) for name, stage in stages.items()}


def kill_run(seconds: float | None, store: Path, prefect_home: Path, server: str) -> bool:
    """Run on the store and kill the process after some seconds, or at its first checkpoint if None.

    Returns False if the run had finished by then.
    """
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = started(words_on(store, *LONG), prefect_home, server, **silent)
    try:
        if seconds is None:
            wait_for_training(store)
        process.wait(seconds or 0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return True
    return False


def test_runs_killed_at_any_instant_end_with_the_same_bits(
    run: Run, relevo: Relevo, prefect_home: Path, server: str, tmp_path: Path
) -> None:
    """Kill runs on one store until a run finishes, then continue on the next store.

    The first kill comes at a checkpoint; the others at a random moment in the first half of the time that
    a whole run takes here, so that many hit a training.
    """

    clock = time.monotonic()
    expected = digests(run(tmp_path / "undisturbed", *LONG))
    whole = time.monotonic() - clock
    draw, kills, hits, stores, resumed = random.Random(4), 0, 0, 0, 0
    while kills < KILLS:
        store = tmp_path / f"store-{stores}"
        while kills < KILLS:
            moment = draw.uniform(0.05, 0.5) * whole if kills else None
            if not kill_run(moment, store, prefect_home, server):
                break
            kills += 1
            hits += bool(list((store / "checkpoints").glob("*")))
            if store.exists():  # else the run was killed before it wrote anything
                left = relevo("verify", "--store", str(store))
                assert left.status == 0, f"kill {kills}: {left.err}"
        last = run(store, *LONG)
        assert digests(last) == expected
        stages = last.json["stages"].values()
        resumed += sum(find_model(str(store), stage["model"])[0].resumed for stage in stages)
        assert relevo("verify", "--store", str(store)).status == 0
        assert not list((store / "checkpoints").glob("*")), "finished stages leave no checkpoint"
        stores += 1
        shutil.rmtree(store)
    print(
        f"{kills} kills on {stores} stores, {hits} of a training with a checkpoint; "
        f"{resumed} stages of the finished runs were resumed from one"
    )
    assert hits
    assert resumed


def test_flipped_byte_in_any_file_changes_no_result(
    chain: Chain, run: Run, relevo: Relevo, tmp_path: Path
) -> None:
    whole, expected = chain.store, digests(chain.first)
    files = sorted(
        p.relative_to(whole) for p in whole.rglob("*") if p.is_file() and p.stat().st_size
    )
    files = [path for path in files if path.parts[0] != "locks"]
    draw = random.Random(5)
    chosen = files if len(files) <= FLIPS else draw.sample(files, FLIPS)
    for path in chosen:
        store = tmp_path / "store"
        shutil.copytree(whole, store)
        content = bytearray((store / path).read_bytes())
        at = draw.randrange(len(content))
        content[at] ^= 1 << draw.randrange(8)
        (store / path).write_bytes(content)
        found = relevo("verify", "--store", str(store))
        assert found.status == 1, f"byte {at} of {path}"
        assert str(path) in found.err or str(path.parent) in found.err, found.err
        assert digests(run(store)) == expected, f"byte {at} of {path}"
        # Files that an earlier run wrote for people are no input of a later run, which doesn't repair them.
        if path.parts[0] != "runs":
            healed = relevo("verify", "--store", str(store))
            assert healed.status == 0, f"byte {at} of {path}: {healed.err}"
        shutil.rmtree(store)


def test_eight_runs_at_once_train_a_stage_once(chain: Chain, run: Run, tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(lambda _: run(tmp_path / "store", "--stage=baseline"), range(8)))
    assert [outcome.status for outcome in outcomes] == [0] * 8
    expected = digests(chain.first)["baseline"]
    assert all(digests(outcome)["baseline"] == expected for outcome in outcomes)
    states = [outcome.json["stages"]["baseline"]["state"] for outcome in outcomes]
    assert sorted(states) == ["cached"] * 7 + ["trained"], states
    waited = [line for outcome in outcomes for line in outcome.err.splitlines() if WAITING in line]
    assert waited
