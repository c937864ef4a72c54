"""A run on a bucket whose shards were damaged says what to do, and the next one heals them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.command import ROOT, SMALL, Outcome, environment

pytestmark = pytest.mark.slow

# Shards of some 100 digits that stay in files.
COMMAND = """
from flows.launcher import find_own_modules, main
find_own_modules()
from tasks.vision.data.shards import shards
from tasks.vision.data.batches import targets
shards.SHARD_BYTES, targets.IN_MEMORY = 300_000, 0
main()
"""
BOUND = 1.2e6  # bytes of the cache: four shards, of nineteen
WORDS = ["run", "digits", "--json", "--stage=baseline", *SMALL, "--set=data.window_gb=0.0005"]

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(prefect_home: Path, server: str, s3_settings: None) -> Start:
    """Start a run on a store."""

    def begin(store: str, *more: str) -> subprocess.Popen[str]:
        aws = {
            name: value
            for name, value in os.environ.items()
            if name.startswith("AWS_") or name == "RELEVO_BLOB_CACHE"
        }
        more_env = {"PREFECT_API_URL": server, "RELEVO_BLOB_CACHE_GB": str(BOUND / 1e9)}
        return subprocess.Popen(
            [sys.executable, "-c", COMMAND, *WORDS, "--store", store, *more],
            text=True,
            cwd=ROOT,
            env={**environment(prefect_home), **aws, **more_env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    return begin


def outcome(process: subprocess.Popen[str]) -> Outcome:
    out, err = process.communicate(timeout=600)
    return Outcome(process.returncode, out, err)


def test_damaged_shard_is_one_line_and_the_next_run_heals_it(
    start: Start, bucket: str, s3: Any
) -> None:
    """The bytes of a bucket are not all downloaded to see whether a data set is whole."""
    store = f"s3://{bucket}/x"
    first = outcome(start(store))
    listed = s3.list_objects_v2(Bucket=bucket, Prefix="x/shards/")["Contents"]
    for each in listed:  # all, since what is still in the cache is whole
        content = bytearray(s3.get_object(Bucket=bucket, Key=each["Key"])["Body"].read())
        content[len(content) // 2] ^= 1
        s3.put_object(Bucket=bucket, Key=each["Key"], Body=bytes(content))
    failed = outcome(start(store, "--seed=1"))
    assert failed.status == 2, failed.err
    assert re.search(
        r"^relevo: .*shards/\w+\.safetensors in the store .* is damaged, and was moved to damaged/\S+; "
        r"start the run again, which prepares the data set again$",
        failed.err,
        re.MULTILINE,
    )
    assert "Traceback" not in failed.err
    healed = outcome(start(store, "--seed=1"))
    assert healed.json["dataset"] == first.json["dataset"]
    assert "computing again" in healed.err
    assert healed.json["stages"]["baseline"]["state"] == "trained"
