"""Several machines train a stage together: the same bits each time, also after one was killed."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from support.machines import Job, digits_in, machines

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
THOROUGH = "RELEVO_MACHINES" in os.environ  # four machines, too, and the death of the first
STAGE = {
    "network": {"widths": [8, 16]},
    "epochs": 6,
    "batch_size": 128,
    "flip": False,
    "controls": False,
}


@pytest.mark.parametrize(("count", "remote"), [(2, True), *([(4, False)] if THOROUGH else [])])
def test_machines_train_to_the_same_bits_also_after_one_was_killed(
    count: int, remote: bool, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Processes on one machine, which share nothing but a bucket or a folder."""
    bucket = request.getfixturevalue("bucket") if remote else None
    store = f"s3://{bucket}/together" if remote else str(tmp_path / "store")
    job = Job(store, digits_in(store, tmp_path), STAGE, count)
    results = []
    for victim in (None, count - 1, *([0] if THOROUGH else [])):
        with machines(job) as started:
            leader, *others = started
            if victim is not None:
                leader.until("epoch 3/6")
                started[victim].kill()
                killed = time.monotonic()
            if victim:
                leader.until("lost:")
                assert time.monotonic() - killed < 60
            if victim is not None:
                started[victim].start()
            results.append(leader.result())
            for each in others:
                each.end()
    assert len({result["digest"] for result in results}) == 1
    assert {len(result["history"]) for result in results} == {6}
    # A bucket may have no checkpoint of a training that takes seconds.
    assert remote or [result["resumed"] for result in results] == [False, True]
