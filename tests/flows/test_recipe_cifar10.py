"""A small budget on the real CIFAR-10, if its archive is beside the checkout."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.command import ROOT, Relevo

ARCHIVE = ROOT.parent / "shared" / "data" / "cifar10-png.zip"


@pytest.mark.skipif(
    not ARCHIVE.is_file(), reason="the CIFAR-10 archive is not beside this checkout"
)
def test_small_budget_beats_the_majority_on_real_photographs(
    relevo: Relevo, server: str, tmp_path: Path
) -> None:
    summary = relevo(
        *("run", "cifar10", "--data", str(ARCHIVE), "--store", str(tmp_path), "--json"),
        *("--set", "labels.car.correct_priors=false"),  # one short epoch would say never a car
        *("--stage", "transfer", "--set", "stages.baseline.network.widths=[16, 32]"),
        *("--set", "stages.baseline.epochs=1", "--set", "labels.car.limits={car=4500, other=4500}"),
        *("--set", "labels.car_truck.limits={car=1000, truck=1000, other=2000}"),
        *("--set", "stages.transfer.controls=false", "--set", "stages.baseline.batch_size=500"),
        env={"PREFECT_API_URL": server},
    ).json
    baseline = summary["stages"]["baseline"]["metrics"]
    assert baseline["images"] == 5000
    assert baseline["majority"] == 0.9
    assert baseline["balanced_accuracy"] > 0.7
    transfer = summary["stages"]["transfer"]["metrics"]
    assert transfer["balanced_accuracy"] > 0.6
