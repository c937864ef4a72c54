"""A store in an S3-compatible bucket, with a local cache of blobs.

Endpoint, region and credentials come from boto3's own places (AWS_ENDPOINT_URL_S3, AWS_PROFILE, ...).
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from botocore import exceptions as boto

from tasks.store.base import MAX_DOCUMENT, Damaged, Entry, Missing, Oversized, Ref, Store
from tasks.store.keys import stays_inside
from tasks.store.lease import hold_lease
from tasks.store.outages import retrying
from tasks.store.s3.blob_cache import add_copy, find_copy
from tasks.store.s3.client import MARK, TRANSFER, client, retry_interrupted, transfer_manager
from tasks.store.s3.create import create_object
from tasks.store.s3.errors import code_of, status_of
from tasks.store.s3.fetched import count_fetched
from tasks.store.s3.lease_document import S3LeaseDocument
from tasks.store.s3.objects import Objects
from tasks.store.s3.uploads import abort_uploads

CHUNK = 1 << 20  # bytes hashed at a time


class S3Store(Store):
    """Objects under one prefix of a bucket; blobs are downloaded once and hashed at every use."""

    remote = True

    def __init__(self, address: str, retry_for: float = 0.0) -> None:
        """Parse the address; nothing is sent. Requests are repeated for `retry_for` seconds.

        Raises:
            StoreError: not s3://bucket or s3://bucket/prefix.
        """
        self._objects = Objects.at(address)
        self._bucket = self._objects.bucket
        self.uri = self._objects.uri
        self.retry_for = retry_for

    @retrying
    def fetch(self, ref: Ref) -> Path:
        if copy := find_copy(ref):
            self._check_size(ref)
        elif not (copy := add_copy(ref, lambda file: self._download(ref, file))):
            raise self._damaged(ref)
        return copy

    def open_blob(self, ref: Ref) -> Path:
        return find_copy(ref) or self.fetch(ref)

    @retrying
    def read_dated(self, key: str, most: int = MAX_DOCUMENT) -> tuple[bytes, datetime]:
        with self._objects.errors(key):
            found = self._objects.read(key, most)
        return found.content, found.modified

    @retrying
    def write(self, key: str, content: bytes) -> None:
        with self._objects.errors(key):
            self._objects.put(key, content)

    @retrying
    def create(self, key: str, content: bytes) -> bool:
        return create_object(self._objects, key, content)

    @retrying
    def copy(self, key: str, to: str, size: int | None = None) -> None:
        with self._objects.errors(key):
            try:
                self._objects.copy(key, to, size)
            except boto.ClientError as error:
                if size is None and status_of(error) < 500:
                    self.entry(key)  # boto3 begins with a HEAD, whose refusal gives no reason
                raise

    def touch(self, key: str) -> None:
        self.copy(key, key, size=0)  # records, and an archive that one request can copy

    @retrying
    def delete(self, key: str) -> None:
        with suppress(Missing), self._objects.errors(key):
            self._objects.delete(key)

    def entries(self, prefix: str) -> Iterator[Entry]:
        yield from self._list(prefix)

    @retrying
    def entry(self, key: str) -> Entry:
        name = self._objects.name(key)
        with self._objects.errors(key):
            try:
                response = client().head_object(Bucket=self._bucket, Key=name)
            except boto.ClientError as error:
                if status_of(error) >= 500:
                    raise
                # The response to a HEAD has no body: only that to a GET gives the reason.
                response = retry_interrupted(lambda: self._objects.get(key))
                response["Body"].close()
            marked = MARK.items() <= response.get("Metadata", {}).items()
            return Entry(key, int(response["ContentLength"]), response["LastModified"], marked)

    @retrying
    def sha256(self, key: str) -> str:
        def request() -> str:
            total = hashlib.sha256()
            for part in self._objects.get(key)["Body"].iter_chunks(CHUNK):
                total.update(part)
            return total.hexdigest()

        with self._objects.errors(key):
            return retry_interrupted(request)

    @retrying
    def exists(self) -> bool:
        with self._objects.errors("runs"):
            found = client().list_objects_v2(
                Bucket=self._bucket, Prefix=self._objects.prefix, MaxKeys=1
            )
        return bool(found.get("Contents"))

    @retrying
    def top(self) -> list[str]:
        prefix = self._objects.prefix
        with self._objects.errors("runs"):
            found = client().list_objects_v2(Bucket=self._bucket, Prefix=prefix, Delimiter="/")
        return _names_below(prefix, found, files=True)

    @retrying
    def folders(self, prefix: str) -> list[str]:
        below = f"{self._objects.name(prefix)}/"
        with self._objects.errors(prefix):
            pages = client().get_paginator("list_objects_v2")
            found = pages.paginate(Bucket=self._bucket, Prefix=below, Delimiter="/")
            names = {name for page in found for name in _names_below(below, page, files=False)}
        return sorted(name for name in names if stays_inside(name))

    def unfinished(self) -> Iterator[Entry]:
        yield from self.entries("locks")

    @retrying
    def drop_uploads(self, before: datetime, *, dry_run: bool) -> list[Entry]:
        with self._objects.errors("uploads"):
            return abort_uploads(self._bucket, self._objects.prefix, before, dry_run=dry_run)

    @contextmanager
    def claim(self, key: str, on_wait: Callable[[], None]) -> Iterator[None]:
        document = S3LeaseDocument(self._objects, f"locks/{key}", self.retry_for)
        with hold_lease(document, on_wait):
            yield

    def address(self, key: str) -> str:
        return f"s3://{self._bucket}/{self._objects.name(key)}"

    @retrying
    def _list(self, prefix: str) -> list[Entry]:
        below = f"{self._objects.name(prefix)}/"
        start = len(self._objects.prefix)
        with self._objects.errors(prefix):
            pages = client().get_paginator("list_objects_v2")
            found = [
                Entry(item["Key"][start:], item["Size"], item["LastModified"])
                for page in pages.paginate(Bucket=self._bucket, Prefix=below)
                for item in page.get("Contents", ())
            ]
        # Without the objects by which consoles mark an empty folder, and names with .. in them.
        plain = (entry for entry in found if stays_inside(entry.key))
        return sorted(plain, key=lambda entry: entry.key)

    @retrying
    def _put(self, ref: Ref, content: Path | bytes) -> None:
        # Uploaded even if it exists: only a download could tell whether that object is damaged.
        source = io.BytesIO(content) if isinstance(content, bytes) else str(content)
        name = self._objects.name(ref.uri)
        with self._objects.errors(ref.uri):
            try:
                with transfer_manager() as manager:
                    manager.upload(source, self._bucket, name, {"Metadata": MARK}).result()
            except boto.ClientError as error:
                # If the response to "complete" is lost, the retry finds no upload under way.
                if code_of(error) != "NoSuchUpload" or not self._holds(ref):
                    raise

    def _holds(self, ref: Ref) -> bool:
        with suppress(Missing):
            return self.entry(ref.uri).size == ref.size
        return False

    def _download(self, ref: Ref, to: Path) -> None:
        def request() -> None:
            with to.open("wb") as file:
                name = self._objects.name(ref.uri)
                client().download_fileobj(self._bucket, name, file, Config=TRANSFER)

        if ref.size > TRANSFER.multipart_threshold:
            self._check_size(ref)
            with self._objects.errors(ref.uri):
                retry_interrupted(request)
        else:
            try:
                with self._objects.errors(ref.uri):
                    to.write_bytes(self._objects.read(ref.uri, ref.size).content)
            except Oversized:
                raise self._damaged(ref) from None
        count_fetched(ref.size)

    def _check_size(self, ref: Ref) -> None:
        if self.entry(ref.uri).size != ref.size:
            raise self._damaged(ref)

    def _damaged(self, ref: Ref) -> Damaged:
        return Damaged(f"{ref.uri} in the store {self.uri} is damaged")


def _names_below(prefix: str, page: Any, *, files: bool) -> list[str]:
    """Sorted names of the folders directly below `prefix`, and of the objects if `files`, in one page."""
    names = [item["Prefix"] for item in page.get("CommonPrefixes", ())]
    names += [item["Key"] for item in page.get("Contents", ()) if files]
    relative = (name.removeprefix(prefix).rstrip("/") for name in names)
    return sorted(name for name in relative if name)
