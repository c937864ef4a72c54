"""A sweep's record, made up."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import product
from math import log10
from random import Random

from pydantic import JsonValue

from tasks.runs.sweeps.record import Chosen, Combination, SweepRun, SweepSummary
from tasks.runs.sweeps.sweep_range import Range

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


def made_search(picked: int = 30) -> SweepSummary:
    """A search over a range of rates, another of whole numbers, and a list; some were stopped early."""
    random, sweep = Random(1), made_sweep()
    ranges = {
        "stages.ten_class.lr_scale": Range(low=0.01, high=10, whole=False),
        "stages.ten_class.shift": Range(low=0, high=6, whole=True),
    }
    tried = []
    for place in range(picked):
        rate, shift = float(f"{10 ** random.uniform(-2, 1):.4g}"), random.randint(0, 6)
        settings: dict[str, JsonValue] = {
            **dict(zip(ranges, (rate, shift), strict=True)),
            "stages.ten_class.optimizer": random.choice(["muon", "adam"]),
        }
        accuracy = 0.95 - 0.04 * abs(log10(rate)) - random.random() / 100
        curve = tuple(accuracy - 0.3 / epoch for epoch in range(1, 9))
        run = SweepRun(seed=0, state="trained", validation=accuracy, epochs=8, curve=curve)
        made = Combination(settings=settings, runs=(run,), mean=accuracy, verdict="worse")
        if place > 10 and rate < 0.1:
            stopped = {"state": "stopped", "reason": "after epoch 3 of 8", "curve": curve[:3]}
            run = run.model_copy(update={**stopped, "validation": None, "epochs": 3})
            made = Combination(settings=settings, runs=(run,), verdict="stopped")
        tried.append(made)
    tried.sort(key=lambda each: -(each.mean or 0))
    tried[0] = tried[0].model_copy(update={"verdict": "best", "interval": (0.94, 0.96)})
    over = {path: tuple(sorted({each.settings[path] for each in tried})) for path in ranges}  # type: ignore[type-var]
    return sweep.model_copy(
        update={
            "over": {**over, "stages.ten_class.optimizer": ("muon", "adam")},
            "ranges": ranges,
            "search": picked,
            "seeds": (0,),
            "combinations": tuple(tried),
            "chosen": sweep.chosen.model_copy(update={"settings": tried[0].settings}),
        }
    )
