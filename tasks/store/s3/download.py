"""Download images from a bucket: an archive, or everything below a prefix.

Each version is downloaded once, into a folder beside the blob cache; a download is atomic.
"""

from __future__ import annotations

import hashlib
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from botocore import exceptions as boto

from tasks.store.addresses import bucket_and_key
from tasks.store.base import Missing, StoreError
from tasks.store.keys import PARTIAL
from tasks.store.s3.blob_cache import cache_folder, mark_used, remove_idle, unusable_cache
from tasks.store.s3.client import client, transfer_manager
from tasks.store.s3.errors import status_of, translate_errors


@dataclass(frozen=True)
class _Object:
    """One object: its path below the address, and its ETag."""

    path: str
    key: str
    size: int
    etag: str


def download_images(address: str, accept: Callable[[list[str]], None] | None = None) -> Path:
    """Path of the local copy of `s3://bucket/key`: a file for an object, a folder for a prefix.

    Args:
        accept: called with the paths below a prefix, or [""] for an object, before the download; may raise.

    Raises:
        Missing: there is no such object or prefix. StoreError: a malformed address, an outage, or an
            object whose name leads out of the folder.
    """
    bucket, key = bucket_and_key(address, "data")
    key = key.rstrip("/")
    with translate_errors(f"s3://{bucket}", lambda: str(client().meta.endpoint_url), key or bucket):
        found = _single(bucket, key) or list(_below(bucket, key))
        if not found:
            raise Missing(f"there is nothing at s3://{bucket}/{key}")
        if accept:
            accept([each.path for each in found])
        versions = "\0".join(f"{each.path}\0{each.etag}\0{each.size}" for each in found)
        digest = hashlib.sha256(f"{address}\0{versions}".encode()).hexdigest()
        name = PurePosixPath(key).name or bucket
        place = cache_folder().with_name("data") / digest[:32] / name
        if place.exists():
            mark_used(place.parent)
        else:
            _download(bucket, found, place)
    return place


def _single(bucket: str, key: str) -> list[_Object]:
    """The object of exactly that name, if it exists."""
    if not key:
        return []
    try:
        response = client().head_object(Bucket=bucket, Key=key)
    except boto.ClientError as error:
        if status_of(error) == 404:
            return []
        raise
    return [_Object("", key, response["ContentLength"], response["ETag"])]


def _below(bucket: str, key: str) -> Iterator[_Object]:
    prefix = f"{key}/" if key else ""
    pages = client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    for page in pages:
        for item in page.get("Contents", ()):
            path = item["Key"][len(prefix) :]
            if path.endswith("/") or not path:
                continue  # a console's mark of an empty folder
            if {"", ".", ".."} & set(path.split("/")) or "\0" in path or "\\" in path:
                raise StoreError(
                    f"s3://{bucket}/{key} holds the name {path!r}; rename it: "
                    "expected plain paths such as train/cat/1.png"
                )
            yield _Object(path, item["Key"], item["Size"], item["ETag"])


def _download(bucket: str, objects: list[_Object], place: Path) -> None:
    partial = place.parent.with_name(f"{PARTIAL}{uuid.uuid4().hex}") / place.name
    try:
        place.parents[1].mkdir(parents=True, exist_ok=True)
        remove_idle(place.parents[1])
        paths = [partial / each.path if each.path else partial for each in objects]
        for folder in {path.parent for path in paths}:
            folder.mkdir(parents=True, exist_ok=True)
        with transfer_manager() as manager:
            downloads: list[Any] = [
                manager.download(bucket, each.key, str(path))
                for each, path in zip(objects, paths, strict=True)
            ]
            for each in downloads:
                each.result()
        for each, path in zip(objects, paths, strict=True):
            if path.stat().st_size != each.size:
                raise StoreError(f"s3://{bucket}/{each.key} changed while it was read; try again")
        if not place.exists():
            partial.parent.rename(place.parent)
    except OSError as error:
        if not place.exists():  # else another process was faster
            raise unusable_cache(place.parents[1], error) from None
    finally:
        shutil.rmtree(partial.parent, ignore_errors=True)
