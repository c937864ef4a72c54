"""Benchmarks refuse a missing archive in one line, before they time anything."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).with_name("benchmarks")


NAMES = [
    "accuracy",
    "decoding",
    "finetuning",
    "head",
    "photos",
    "preparation",
    "suspicious",
    "throughput",
    "unseen",
]


@pytest.mark.parametrize("name", NAMES)
def test_an_archive_that_is_not_there_is_one_line_and_status_2(name: str) -> None:
    files = (
        ["nowhere.zip", "x.keras"]
        if name in {"photos", "suspicious", "unseen"}
        else ["nowhere.zip"]
    )
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "nowhere.zip: expected a zip of" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
