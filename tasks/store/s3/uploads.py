"""Incomplete multipart uploads: their parts stay in the bucket, unlisted and paid for."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from botocore import exceptions as boto

from tasks.store.base import Entry
from tasks.store.keys import PARTIAL, is_own
from tasks.store.s3.client import client
from tasks.store.s3.errors import code_of

RIGHTS = "s3:ListBucketMultipartUploads, s3:ListMultipartUploadParts and s3:AbortMultipartUpload"
REFUSED = {"AccessDenied", "NotImplemented", "403", "405", "501"}


def abort_uploads(bucket: str, prefix: str, before: datetime, *, dry_run: bool) -> list[Entry]:
    """Abort relevo's own uploads under the prefix that began before that time and never ended.

    Where the server refuses this, a warning is logged, since gc can do everything else.

    Returns:
        The uploads as entries with the size of their parts, named like a folder's partial files.
    """
    aborted: list[Entry] = []
    try:
        aborted.extend(_abort(bucket, prefix, before, dry_run))
    except boto.ClientError as error:
        if code_of(error) not in REFUSED:
            raise
        logging.getLogger("relevo").warning(
            "uploads that were cut off stay in the bucket %s; to remove them takes %s",
            bucket,
            RIGHTS,
        )
    return aborted


def _abort(bucket: str, prefix: str, before: datetime, dry_run: bool) -> Iterator[Entry]:
    for upload in _pages("list_multipart_uploads", "Uploads", Bucket=bucket, Prefix=prefix):
        key = upload["Key"].removeprefix(prefix)
        if not is_own(key) or upload["Initiated"] >= before:
            continue
        which = {"Bucket": bucket, "Key": upload["Key"], "UploadId": upload["UploadId"]}
        try:
            size = sum(part["Size"] for part in _pages("list_parts", "Parts", **which))
            if not dry_run:
                client().abort_multipart_upload(**which)
        except boto.ClientError as error:
            if code_of(error) != "NoSuchUpload":  # completed meanwhile
                raise
        else:
            folder, _, name = key.rpartition("/")
            partial = f"{folder}/{PARTIAL}{name.partition('.')[0]}"
            yield Entry(partial, size, upload["Initiated"])


def _pages(operation: str, items: str, **arguments: str) -> Iterator[dict[str, Any]]:
    for page in client().get_paginator(operation).paginate(**arguments):
        yield from page.get(items, ())
