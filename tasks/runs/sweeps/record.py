"""The record of a finished sweep, its `sweep.json`: what was asked, and what came of each of its runs."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, JsonValue

from tasks.io.documents import read_sealed, seal
from tasks.runs.listing import is_name
from tasks.runs.stage_result import State
from tasks.runs.summary import Seconds
from tasks.runs.sweeps.sweep_range import Range
from tasks.store.base import Missing, Ref, Sha256, Store
from tasks.vision.errors import BadInput
from tasks.vision.recipe.schema import Strict

SUFFIX = "-sweep"  # of every name
Verdict = Literal["best", "noise", "worse", "stopped", "failed"]
WITHOUT_MODEL = ("stopped", "failed")  # verdicts
Accuracy = Annotated[float, Field(ge=0, le=1)]


class SweepRun(Strict):
    """One training of a sweep.

    Attributes:
        fold: number of the part that was validation, from 1; None without folds.
        state: of the stage that decides; stopped early by a search, or failed, with the `reason`.
        validation: accuracy on the validation images. curve: the same after each epoch.
        seconds: what its training cost, also when cached. predictions: on the validation images; they name
            its model.
    """

    seed: int
    fold: int | None = None
    state: State | Literal["stopped", "failed"]
    reason: str = ""
    validation: Accuracy | None = None
    epochs: int = 0
    seconds: Seconds = 0.0
    curve: tuple[float, ...] = ()
    predictions: Ref | None = None


class Combination(Strict):
    """Settings that were tried, and how they did.

    Attributes:
        settings: by key of the recipe. mean: validation accuracy over the runs, None if one has no model.
        interval: its 95 % interval over seeds and folds; of a single run over its images.
        difference: its mean minus the best one's. p: that both are equally good, with Holm's correction.
        verdict: best; noise, if it can't be distinguished from the best; worse; stopped early; or failed.
    """

    settings: dict[str, JsonValue]
    runs: tuple[SweepRun, ...]
    mean: Accuracy | None = None
    interval: tuple[float, float] | None = None
    difference: float | None = None
    p: float | None = None
    verdict: Verdict = "failed"


class Chosen(Strict):
    """The best settings by validation, and their run with the recipe's own seed and split.

    Attributes:
        run: name of its folder in runs/. accuracy: on the test images, which only this run has seen.
        interval: its 95 % interval. images: number of test images. command: that repeats the run.
    """

    settings: dict[str, JsonValue]
    run: str
    accuracy: Accuracy
    interval: tuple[float, float]
    images: int
    command: str


class SweepSummary(Strict):
    """A finished sweep: its sweep.json and the output of `relevo sweep --json`.

    Attributes:
        stage: whose validation accuracy decides. over: the keys that were varied, with the values tried.
        search: how many settings were to be picked; None if all were tried. ranges: that they are from, by key.
        combinations: the best first. page: path or URI of sweep.html, and `page_sha256` its hash.
        command: that repeats the sweep. flow_run: id of the flow run in Prefect.
    """

    sweep: str
    recipe: str
    store: str
    page: str
    page_sha256: Sha256
    stage: str
    over: dict[str, tuple[JsonValue, ...]]
    search: int | None = Field(None, exclude_if=lambda search: search is None)
    ranges: dict[str, Range] = Field(default_factory=dict, exclude_if=lambda ranges: not ranges)
    seeds: tuple[int, ...]
    folds: int | None
    combinations: tuple[Combination, ...]
    chosen: Chosen
    command: str
    started: AwareDatetime
    seconds: Seconds
    flow_run: str | None = None

    def refs(self) -> list[Ref]:
        """Return the refs of all predictions, which name models and data sets."""
        runs = (run for each in self.combinations for run in each.runs)
        return [run.predictions for run in runs if run.predictions]

    def placed(self, home: Store) -> SweepSummary:
        """Return the summary with addresses in this store, which may be a copy of the original."""
        page = home.address(f"sweeps/{self.sweep}/sweep.html")
        return self.model_copy(update={"store": home.uri, "page": page})

    def to_json(self) -> str:
        """Return the JSON object of `relevo sweep --json`, without refs and hashes."""
        runs = {"__all__": {"runs": {"__all__": {"predictions"}}}}
        return self.model_dump_json(exclude={"page_sha256": True, "combinations": runs})


def write_sweep(summary: SweepSummary, page: bytes, home: Store) -> None:
    """Write the folder of a sweep, its record last."""
    home.write(f"sweeps/{summary.sweep}/sweep.html", page)
    home.write(f"sweeps/{summary.sweep}/sweep.json", seal(summary))


def read_sweep(home: Store, name: str) -> SweepSummary:
    """Read the record of a sweep.

    Raises:
        Missing, BadInput: there is none, or it is damaged.
    """
    return read_sealed(SweepSummary, home, f"sweeps/{name}/sweep.json", f"sweep {name!r}")


def find_sweep(home: Store, name: str) -> SweepSummary | None:
    """Return the sweep of this name with addresses in this store, if there is one."""
    if is_name(name) and name.endswith(SUFFIX):  # else it is a run's
        with suppress(Missing):
            return read_sweep(home, name).placed(home)
    return None


def sweep_names(home: Store) -> list[str]:
    """Return the names of finished sweeps, the newest last."""
    keys = (key.split("/") for key in home.keys("sweeps"))
    return sorted({name for _, name, *file in keys if file == ["sweep.json"]})


def find_attempt(home: Store, flow_run: str | None) -> SweepSummary | None:
    """Return the sweep that this flow run finished before it crashed, if any."""
    for name in reversed(sweep_names(home)):
        with suppress(Missing, BadInput):
            if flow_run and (found := read_sweep(home, name)).flow_run == flow_run:
                return found
    return None
