"""What uploads in parts leave when they are cut off: the bucket keeps the parts, unseen and paid for."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from botocore import exceptions as boto

from tasks.store.base import Entry
from tasks.store.own import is_own
from tasks.store.s3.client import client
from tasks.store.s3.errors import code_of

RIGHTS = "s3:ListBucketMultipartUploads, s3:ListMultipartUploadParts and s3:AbortMultipartUpload"
REFUSED = {"AccessDenied", "NotImplemented", "403", "405", "501"}


def drop_uploads(bucket: str, below: str, before: datetime, *, dry_run: bool) -> list[Entry]:
    """Abort the uploads of relevo's own under the prefix `below` that began before then and never ended.

    A server that doesn't let us is no fault: the rest of the garbage is gone by then.

    Returns:
        What they left, named as a folder would name it.
    """
    dropped: list[Entry] = []
    try:
        dropped.extend(_dropping(bucket, below, before, dry_run))
    except boto.ClientError as error:
        if code_of(error) not in REFUSED:
            raise
        logging.getLogger("relevo").warning(
            "uploads that were cut off stay in the bucket %s; to remove them takes %s",
            bucket,
            RIGHTS,
        )
    return dropped


def _dropping(bucket: str, below: str, before: datetime, dry_run: bool) -> Iterator[Entry]:
    for upload in _paged("list_multipart_uploads", "Uploads", Bucket=bucket, Prefix=below):
        key = upload["Key"].removeprefix(below)
        # A bucket may be used by others too.
        if not is_own(key) or upload["Initiated"] >= before:
            continue
        which = {"Bucket": bucket, "Key": upload["Key"], "UploadId": upload["UploadId"]}
        try:
            size = sum(part["Size"] for part in _paged("list_parts", "Parts", **which))
            if not dry_run:
                client().abort_multipart_upload(**which)
        except boto.ClientError as error:
            if code_of(error) != "NoSuchUpload":  # it has ended meanwhile
                raise
        else:
            folder, _, name = key.rpartition("/")
            partial = f"{folder}/.partial-{name.partition('.')[0]}"
            yield Entry(partial, size, upload["Initiated"])


def _paged(ask: str, found: str, **what: str) -> Iterator[dict[str, Any]]:
    for page in client().get_paginator(ask).paginate(**what):
        yield from page.get(found, ())
