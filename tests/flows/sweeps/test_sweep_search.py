"""`relevo sweep --search`: killed and started again, hopeless trainings stopped, and what it reports."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support.command import SMALL, Outcome, Relevo, started

from tasks.runs.sweeps.search_record import Picked
from tasks.runs.verify import check_all

pytestmark = pytest.mark.slow

RATE = "stages.ten_class.lr_scale"
SEARCH = 7  # of which the sixth has too high a rate
WORDS = [*("sweep", "digits", "--over", f"{RATE}=0.1..100", "--search", str(SEARCH)), *SMALL]


class Searched:
    """A search that was killed after its third combination, started again, and shown."""

    def __init__(self, relevo: Relevo, server: str, home: Path, store: Path) -> None:
        self.store = store
        words = [*WORDS, "--store", str(store)]
        running = started(words, home, server, stderr=subprocess.PIPE, start_new_session=True)
        assert running.stderr is not None
        for line in running.stderr:
            if re.match(rf"sweep: +combination 3 of {SEARCH}", line):
                os.killpg(running.pid, signal.SIGKILL)
        running.wait(timeout=120)
        self.before = self.picked()
        self.again = relevo(*words, "--json", env={"PREFECT_API_URL": server})
        self.shown: Outcome = relevo("show", self.again.json["sweep"], "--store", str(store))

    def picked(self) -> list[dict[str, Any]]:
        """What the store says was picked, in order."""
        return [json.loads(path.read_text()) for path in sorted(self.store.glob("searches/*/*"))]

    def runs(self, state: str) -> list[dict[str, Any]]:
        """The runs of a state in the answer."""
        runs = (run for each in self.again.json["combinations"] for run in each["runs"])
        return [run for run in runs if run["state"] == state]


@pytest.fixture(scope="module")
def searched(
    relevo: Relevo, server: str, prefect_home: Path, tmp_path_factory: pytest.TempPathFactory
) -> Searched:
    return Searched(relevo, server, prefect_home, tmp_path_factory.mktemp("search") / "store")


def test_killed_search_goes_on_with_the_same_settings(searched: Searched) -> None:
    picked = searched.picked()
    assert len(searched.before) in (3, 4), "the fourth may have been picked"
    assert len(picked) == SEARCH
    assert [each["settings"] for each in picked][: len(searched.before)] == [
        each["settings"] for each in searched.before
    ]
    assert len(searched.runs("cached")) == 3
    assert len(searched.again.json["combinations"]) == SEARCH
    assert searched.again.json["search"] == SEARCH
    tried = [each["settings"][RATE] for each in searched.again.json["combinations"]]
    assert sorted(tried) == searched.again.json["over"][RATE]
    assert all(0.1 <= rate <= 100 for rate in tried)


def test_a_hopeless_training_is_stopped_and_not_cached(searched: Searched) -> None:
    stopped = searched.runs("stopped")
    assert stopped, "some rates are far too high"
    for run in stopped:
        assert re.match(
            r"after epoch [12] of 3: validation accuracy 0\.\d{4}, the med", run["reason"]
        )
        assert len(run["curve"]) == run["epochs"] < 3
        assert run["validation"] is None
    trained = len(list((searched.store / "cache").glob("train-*")))
    assert trained == SEARCH - len(stopped)
    records = [
        Picked.model_validate({k: v for k, v in each.items() if k != "sha256"})
        for each in searched.picked()
    ]
    assert sum(each.stopped is not None for each in records) == len(stopped)
    assert [each for each in check_all(str(searched.store)) if each.fault] == []


def test_page_and_table_say_what_was_stopped(searched: Searched) -> None:
    assert re.search(r"stopped: after epoch", " ".join(searched.shown.out.split()))
    page = Path(searched.again.json["page"]).read_text("utf-8")
    assert "stopped early" in page
    assert "tree-structured Parzen estimator" in page
    assert f"--search {SEARCH}" in page
    assert page.count("data:image/png;base64,") == 2
