"""List what is at an address of a bucket: one object, or everything below a prefix; nothing is downloaded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from botocore import exceptions as boto

from tasks.store.addresses import bucket_and_key
from tasks.store.base import Missing, StoreError
from tasks.store.s3.client import client
from tasks.store.s3.errors import status_of, translate_errors


@dataclass(frozen=True)
class ListedObject:
    """One object.

    Attributes:
        path: below the address; "" for an object of exactly that name. size: in bytes.
        etag: changes with the content. modified: time of the upload.
    """

    path: str
    key: str
    size: int
    etag: str
    modified: datetime


def list_objects(address: str) -> list[ListedObject]:
    """List the object at `s3://bucket/key`, or all objects below it, sorted by key.

    Raises:
        Missing: there is neither. StoreError: a malformed address, an outage, or an object whose name leads
            out of a folder.
    """
    bucket, key = bucket_and_key(address, "data")
    key = key.rstrip("/")
    with translate_errors(f"s3://{bucket}", lambda: str(client().meta.endpoint_url), key or bucket):
        if found := _single(bucket, key) or list(_below(bucket, key)):
            return found
        raise Missing(f"there is nothing at s3://{bucket}/{key}")


def _single(bucket: str, key: str) -> list[ListedObject]:
    """The object of exactly that name, if it exists."""
    if not key:
        return []
    try:
        response = client().head_object(Bucket=bucket, Key=key)
    except boto.ClientError as error:
        if status_of(error) == 404:
            return []
        raise
    size, etag, modified = (response[k] for k in ("ContentLength", "ETag", "LastModified"))
    return [ListedObject("", key, size, etag, modified)]


def _below(bucket: str, key: str) -> Iterator[ListedObject]:
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
            size, etag, modified = (item[k] for k in ("Size", "ETag", "LastModified"))
            yield ListedObject(path, item["Key"], size, etag, modified)
