"""A sweep's record, made up."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import product
from random import Random

from pydantic import JsonValue

from tasks.runs.sweep_record import Chosen, Combination, SweepRun, SweepSummary

OVER: dict[str, tuple[JsonValue, ...]] = {
    "stages.ten_class.lr_scale": (0.1, 0.5, 1, 4),
    "stages.ten_class.optimizer": ("muon", "adam"),
    "stages.ten_class.epochs": (4, 8),
}


def made_sweep(
    over: dict[str, tuple[JsonValue, ...]] | None = None, seeds: int = 2, *, failed: bool = False
) -> SweepSummary:
    """A sweep of which the last settings may have failed."""
    over, random = OVER if over is None else over, Random(0)
    tried = []
    for values in product(*over.values()):
        settings = dict(zip(over, values, strict=True))
        accuracy = 0.9 + random.random() / 20
        curve = tuple(accuracy - 0.3 / epoch for epoch in range(1, 5))
        runs = tuple(
            SweepRun(seed=seed, state="trained", validation=accuracy, epochs=4, curve=curve)
            for seed in range(seeds)
        )
        tried.append(
            Combination(
                settings=settings,
                runs=runs,
                mean=accuracy,
                interval=(accuracy - 0.01, accuracy + 0.01),
                verdict="worse",
            )
        )
    best, *others = sorted(tried, key=lambda each: -(each.mean or 0))
    others = [
        each.model_copy(
            update={
                "difference": (each.mean or 0) - (best.mean or 0),
                "p": 0.5,
                "verdict": "noise" if place < 3 else "worse",
            }
        )
        for place, each in enumerate(others)
    ]
    if failed:
        run = SweepRun(seed=0, state="failed", reason="the loss is not finite")
        others[-1] = Combination(settings=others[-1].settings, runs=(run,))
    return SweepSummary(
        sweep="20261130-100000-000-digits-sweep",
        recipe="digits",
        store="artifacts",
        page="artifacts/sweeps/20261130-100000-000-digits-sweep/sweep.html",
        page_sha256="0" * 64,
        stage="ten_class",
        over=over,
        seeds=tuple(range(seeds)),
        folds=None,
        combinations=(best.model_copy(update={"verdict": "best"}), *others),
        chosen=Chosen(
            settings=best.settings,
            run="20261130-100100-000-digits",
            accuracy=0.97,
            interval=(0.95, 0.985),
            images=360,
            command="relevo run digits --stage ten_class",
        ),
        command="relevo sweep digits --seeds 2",
        started=datetime.now(UTC),
        seconds=200.0,
    )
