"""Images in a bucket, brought to this machine: an archive, or everything below a prefix.

Each version is brought once, into the folder where blobs are cached, and stands there whole or not at all.
"""

from __future__ import annotations

import hashlib
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from botocore import exceptions as boto

from tasks.store.addresses import bucket_and_key
from tasks.store.base import Missing, StoreError
from tasks.store.s3.blob_cache import cache_folder, drop_unused, unusable, use
from tasks.store.s3.client import client, transfers
from tasks.store.s3.errors import in_words, status_of


@dataclass(frozen=True)
class _Object:
    """One object of a bucket: its path below what was asked for, and what tells its versions apart."""

    path: str
    key: str
    size: int
    version: str


def bring(address: str) -> Path:
    """The local copy of `s3://bucket/key`: a file for an object, a folder for a prefix.

    Raises:
        Missing: nothing lies there. StoreError: no bucket's name, out of reach, or names climb out.
    """
    bucket, key = bucket_and_key(address, "data")
    key = key.rstrip("/")
    with in_words(f"s3://{bucket}", lambda: str(client().meta.endpoint_url), key or bucket):
        found = _single(bucket, key) or list(_below(bucket, key))
        if not found:
            raise Missing(f"nothing lies at s3://{bucket}/{key}")
        versions = "\0".join(f"{each.path}\0{each.version}\0{each.size}" for each in found)
        digest = hashlib.sha256(f"{address}\0{versions}".encode()).hexdigest()
        name = PurePosixPath(key).name or bucket
        place = cache_folder().with_name("data") / digest[:32] / name
        if place.exists():
            use(place.parent)
        else:
            _download(bucket, found, place)
    return place


def _single(bucket: str, key: str) -> list[_Object]:
    """The one object of that very name, if there is one."""
    if not key:
        return []
    try:
        answer = client().head_object(Bucket=bucket, Key=key)
    except boto.ClientError as error:
        if status_of(error) == 404:
            return []
        raise
    return [_Object("", key, answer["ContentLength"], answer["ETag"])]


def _below(bucket: str, key: str) -> Iterator[_Object]:
    prefix = f"{key}/" if key else ""
    pages = client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    for page in pages:
        for item in page.get("Contents", ()):
            path = item["Key"][len(prefix) :]
            if path.endswith("/") or not path:
                continue  # consoles mark an empty folder so
            if {"", ".", ".."} & set(path.split("/")) or "\0" in path or "\\" in path:
                raise StoreError(
                    f"s3://{bucket}/{key} holds the name {path!r}; rename it: "
                    "expected plain paths such as train/cat/1.png"
                )
            yield _Object(path, item["Key"], item["Size"], item["ETag"])


def _download(bucket: str, objects: list[_Object], place: Path) -> None:
    partial = place.parent.with_name(f".partial-{uuid.uuid4().hex}") / place.name
    try:
        place.parents[1].mkdir(parents=True, exist_ok=True)
        drop_unused(place.parents[1])
        paths = [partial / each.path if each.path else partial for each in objects]
        for folder in {path.parent for path in paths}:
            folder.mkdir(parents=True, exist_ok=True)
        with transfers() as manager:
            waiting: list[Any] = [
                manager.download(bucket, each.key, str(path))
                for each, path in zip(objects, paths, strict=True)
            ]
            for each in waiting:
                each.result()
        for each, path in zip(objects, paths, strict=True):
            if path.stat().st_size != each.size:
                raise StoreError(f"s3://{bucket}/{each.key} changed while it was read; try again")
        if not place.exists():
            partial.parent.rename(place.parent)
    except OSError as error:
        if not place.exists():  # else another process was faster
            raise unusable(place.parents[1], error) from None
    finally:
        shutil.rmtree(partial.parent, ignore_errors=True)
