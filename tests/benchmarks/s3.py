"""Cost of a store in a bucket: runs, against a local store; transfers, against boto3 and the AWS CLI.

python tests/benchmarks/s3.py [--rounds 5] [--megabytes 184] [--transfers]
moto serves S3 in a process of its own on 127.0.0.1; each turn has its own bucket and cache. If the AWS command
line is installed, `aws s3 cp` takes part, start-up included.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import boto3
from botocore.config import Config
from bucket_server import new_bucket, served
from rich.table import Table
from turns import Turn, ask, child, show, spread


def by_the_store(path: Path, folder: Path) -> tuple[float, float]:
    """Seconds to upload and download a file with the project's store."""
    from tasks.store.opening import open_store

    os.environ["RELEVO_BLOB_CACHE"] = str(folder)
    store = open_store(f"s3://{new_bucket()}/x")
    store.check()  # creates boto3's client outside the timed part
    clock = time.monotonic()
    ref = store.put("dataset", path)
    up = time.monotonic()
    assert store.fetch(ref).stat().st_size == path.stat().st_size
    return up - clock, time.monotonic() - up


def by_boto3(path: Path, folder: Path, checksums: str = "when_supported") -> tuple[float, float]:
    """The same with boto3's transfer methods."""
    config = Config(request_checksum_calculation=checksums, response_checksum_validation=checksums)
    client, bucket = boto3.client("s3", config=config), new_bucket()
    clock = time.monotonic()
    client.upload_file(str(path), bucket, "x")
    up = time.monotonic()
    client.download_file(bucket, "x", str(folder / "x"))
    return up - clock, time.monotonic() - up


def by_aws(path: Path, folder: Path) -> tuple[float, float]:
    """The same with two commands of the AWS command line."""
    there = f"s3://{new_bucket()}/x"
    copy = ["aws", "s3", "cp", "--quiet"]
    clock = time.monotonic()
    subprocess.run([*copy, str(path), there], check=True)
    up = time.monotonic()
    subprocess.run([*copy, there, str(folder / "x")], check=True)
    return up - clock, time.monotonic() - up


# Some S3-compatible servers refuse boto3's default checksums, hence the store sends none.
WAYS: dict[str, Callable[[Path, Path], tuple[float, float]]] = {
    "relevo's store": by_the_store,
    "boto3 alone": by_boto3,
    "boto3, no checksums": partial(by_boto3, checksums="when_required"),
    **({"aws s3 cp": by_aws} if shutil.which("aws") else {}),
}


def runs(rounds: int, folder: Path) -> dict[str, list[Turn]]:
    """Run `relevo run digits` on fresh stores, in turns; the digests must agree."""
    turns: dict[str, list[Turn]] = {"a folder": [], "a bucket": []}
    for number in range(rounds):
        for name, store in (
            ("a folder", str(folder / f"store-{number}")),
            ("a bucket", f"s3://{new_bucket()}/x"),
        ):
            command = [sys.executable, "-m", "flows", "run", "digits", "--json", "--store", store]
            places = {"RELEVO_BLOB_CACHE": str(folder / f"blobs-{number}")}
            turns[name].append(ask(command, PREFECT_HOME=str(folder / "prefect"), **places))
    digests = {
        tuple(stage["model_digest"] for stage in turn.answer["stages"].values())
        for each in turns.values()
        for turn in each
    }
    assert len(digests) == 1, "a bucket gives other bits than a folder"
    return turns


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--megabytes", type=int, default=184, help="default: size of prepared CIFAR-10"
    )
    parser.add_argument("--transfers", action="store_true", help="skip the runs")
    parser.add_argument("--only", nargs=2, metavar=("WAY", "FILE"), help="time one transfer")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if given.only:
            up, down = WAYS[given.only[0]](Path(given.only[1]), folder)
            print(json.dumps({"up": up, "down": down}))
            return
        file = folder / "file"
        file.write_bytes(random.Random(1).randbytes(given.megabytes * 10**6))
        table = Table("what", "how", "seconds", "ratio")
        with served():
            turns: dict[str, list[Turn]] = {way: [] for way in WAYS}
            for _ in range(given.rounds):
                for way in WAYS:
                    turns[way].append(ask(child("s3", "--only", way, file)))
            for what in ("up", "down"):
                seconds = {way: [t.answer[what] for t in each] for way, each in turns.items()}
                alone = median(seconds["boto3 alone"])
                for way, each in seconds.items():
                    title = f"{given.megabytes} MB {what}"
                    table.add_row(title, way, spread(each, 2), f"{median(each) / alone:.2f}")
            both = {} if given.transfers else runs(given.rounds, folder)
            took = {way: [t.seconds for t in each] for way, each in both.items()}
            for way, each in took.items():
                ratio = median(each) / median(took["a folder"])
                table.add_row("relevo run digits", f"store is {way}", spread(each), f"{ratio:.2f}")
    show(table)


if __name__ == "__main__":
    main()
