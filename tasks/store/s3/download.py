"""Download images from a bucket: an archive, or everything below a prefix.

Each version is downloaded once, into a folder beside the blob cache; a download is atomic.
"""

from __future__ import annotations

import hashlib
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from tasks.store.addresses import bucket_and_key
from tasks.store.base import StoreError
from tasks.store.keys import PARTIAL
from tasks.store.s3.blob_cache import cache_folder, mark_used, remove_idle, unusable_cache
from tasks.store.s3.client import client, transfer_manager
from tasks.store.s3.errors import translate_errors
from tasks.store.s3.fetched import count_fetched
from tasks.store.s3.listing import ListedObject, list_objects


def download_images(address: str, accept: Callable[[list[str]], None] | None = None) -> Path:
    """Path of the local copy of `s3://bucket/key`: a file for an object, a folder for a prefix.

    Args:
        accept: called with the paths below a prefix, or [""] for an object, before the download; may raise.

    Raises:
        Missing: there is no such object or prefix. StoreError: a malformed address, an outage, or an
            object whose name leads out of the folder.
    """
    found = list_objects(address)
    if accept:
        accept([each.path for each in found])
    return download_objects(address, found)


def download_objects(address: str, found: list[ListedObject]) -> Path:
    """Download some of the objects that `list_objects` has found at an address; path and errors as above."""
    bucket, key = bucket_and_key(address, "data")
    key = key.rstrip("/")
    with translate_errors(f"s3://{bucket}", lambda: str(client().meta.endpoint_url), key or bucket):
        versions = "\0".join(f"{each.path}\0{each.etag}\0{each.size}" for each in found)
        digest = hashlib.sha256(f"{address}\0{versions}".encode()).hexdigest()
        name = PurePosixPath(key).name or bucket
        place = cache_folder().with_name("data") / digest[:32] / name
        if place.exists():
            mark_used(place.parent)
        else:
            _download(bucket, found, place)
    return place


def _download(bucket: str, objects: list[ListedObject], place: Path) -> None:
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
        count_fetched(sum(each.size for each in objects))
        if not place.exists():
            partial.parent.rename(place.parent)
    except OSError as error:
        if not place.exists():  # else another process was faster
            raise unusable_cache(place.parents[1], error) from None
    finally:
        shutil.rmtree(partial.parent, ignore_errors=True)
