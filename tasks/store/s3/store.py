"""A store in an S3-compatible bucket: whole objects, and a local cache of blobs.

Endpoint, region and credentials come from boto3's own places (AWS_ENDPOINT_URL_S3, AWS_PROFILE, ...).
"""

from __future__ import annotations

import hashlib
import io
import mimetypes
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from botocore import exceptions as boto

from tasks.store.addresses import address_without_secrets, bucket_and_key
from tasks.store.base import (
    CHUNK,
    Damaged,
    Entry,
    Kind,
    Missing,
    Ref,
    Store,
    StoreError,
    checked_key,
    listed_key,
    ref_to,
    stays_inside,
)
from tasks.store.lease import Seen, Unsupported, leased
from tasks.store.outages import retrying
from tasks.store.s3.blob_cache import cached_copy
from tasks.store.s3.client import COPY, MARK, TRANSFER, client, patiently, transfers
from tasks.store.s3.errors import NO_CONDITIONS, code_of, in_words, status_of
from tasks.store.s3.uploads import drop_uploads


class S3Store(Store):
    """Objects under one prefix of a bucket; blobs are downloaded once and hashed at every use."""

    def __init__(self, address: str) -> None:
        """Check the address alone: nothing is sent before something is asked for.

        Raises:
            StoreError: not s3://bucket or s3://bucket/prefix.
        """
        self._bucket, self._prefix = _bucket_and_prefix(address)
        self.uri = f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    @retrying
    def put(
        self,
        kind: Kind,
        content: Path | bytes,
        suffix: str = "",
        *,
        digest: str | None = None,
        made_from: tuple[Ref, ...] = (),
    ) -> Ref:
        ref = ref_to(kind, content, suffix, digest, made_from)
        # What lies there may be damaged, and its size doesn't tell: whoever has the bytes mends it.
        self._upload(ref, content)
        return ref

    @retrying
    def fetch(self, ref: Ref) -> Path:
        if self._size(ref.uri) == ref.size:
            kept = cached_copy(ref, lambda file: self._download(ref, file))
            if kept:
                return kept
        raise Damaged(f"{ref.uri} in the store {self.uri} is damaged")

    @retrying
    def read(self, key: str) -> bytes:
        with self._in_words(key):
            return patiently(lambda: bytes(self._get(key)["Body"].read()))

    @retrying
    def write(self, key: str, content: bytes) -> None:
        name = self._name(checked_key(key))
        with self._in_words(key):
            client().put_object(Bucket=self._bucket, Key=name, Body=content, **_headers(key))

    @retrying
    def copy(self, key: str, to: str) -> None:
        source = {"Bucket": self._bucket, "Key": self._name(key)}
        headers = {**_headers(to), "MetadataDirective": "REPLACE"}
        name = self._name(checked_key(to))
        with self._in_words(key):
            try:
                client().copy(source, self._bucket, name, headers, Config=COPY)
            except boto.ClientError as error:
                if status_of(error) < 500:
                    self.entry(key)  # boto3 begins with a HEAD, which does not say what is wrong
                raise

    @retrying
    def delete(self, key: str) -> None:
        with suppress(Missing), self._in_words(key):
            client().delete_object(Bucket=self._bucket, Key=self._name(key))

    def entries(self, prefix: str) -> Iterator[Entry]:
        yield from self._listed(prefix)

    @retrying
    def _listed(self, prefix: str) -> list[Entry]:
        below = f"{self._name(prefix)}/"
        start = len(below) - len(prefix) - 1
        with self._in_words(prefix):
            pages = client().get_paginator("list_objects_v2")
            found = [
                Entry(item["Key"][start:], item["Size"], item["LastModified"])
                for page in pages.paginate(Bucket=self._bucket, Prefix=below)
                for item in page.get("Contents", ())
            ]
        # S3 consoles mark an empty folder by an object whose name ends in /; .. is no name here.
        plain = (entry for entry in found if stays_inside(entry.key))
        return sorted(plain, key=lambda entry: entry.key)

    @retrying
    def sha256(self, key: str) -> str:
        def digest() -> str:
            total = hashlib.sha256()
            for part in self._get(key)["Body"].iter_chunks(CHUNK):
                total.update(part)
            return total.hexdigest()

        with self._in_words(key):
            return patiently(digest)

    @retrying
    def exists(self) -> bool:
        with self._in_words("runs"):
            found = client().list_objects_v2(Bucket=self._bucket, Prefix=self._below(), MaxKeys=1)
        return bool(found.get("Contents"))

    @retrying
    def top(self) -> list[str]:
        with self._in_words("runs"):
            found = client().list_objects_v2(
                Bucket=self._bucket, Prefix=self._below(), Delimiter="/"
            )
        names = [item["Key"] for item in found.get("Contents", ())]
        names += [item["Prefix"] for item in found.get("CommonPrefixes", ())]
        plain = (name.removeprefix(self._below()).rstrip("/") for name in names)
        return sorted(name for name in plain if name)

    def unfinished(self) -> Iterator[Entry]:
        yield from self.entries("locks")

    @retrying
    def drop_uploads(self, before: datetime, *, dry_run: bool) -> list[Entry]:
        with self._in_words("uploads"):
            return drop_uploads(self._bucket, self._below(), before, dry_run=dry_run)

    @contextmanager
    def claim(self, key: str, waiting: Callable[[], None]) -> Iterator[None]:
        with leased(S3Slot(self, f"locks/{key}"), waiting):
            yield

    @retrying
    def write_if(self, key: str, content: bytes, **condition: str) -> bool:
        """Put a document under `key` if S3's condition holds (IfMatch, IfNoneMatch): did it?

        Raises:
            Unsupported: the server knows no such condition.
        """
        name = self._name(checked_key(key))
        with self._in_words(key):
            try:
                client().put_object(
                    Bucket=self._bucket, Key=name, Body=content, Metadata=MARK, **condition
                )
            except boto.ClientError as error:
                if status_of(error) in {409, 412} or code_of(error) == "NoSuchKey":
                    return False
                if status_of(error) == 501 or code_of(error) in NO_CONDITIONS:
                    raise Unsupported from None
                raise
        return True

    @retrying
    def look(self, key: str) -> Seen | None:
        """A document with its version (S3's ETag); None if there is none."""

        def ask() -> Seen:
            answer = self._get(key)
            return Seen(answer["ETag"], bytes(answer["Body"].read()))

        with suppress(Missing), self._in_words(key):
            return patiently(ask)
        return None

    def address(self, key: str) -> str:
        return f"s3://{self._bucket}/{self._name(key)}"

    def _in_words(self, key: str) -> AbstractContextManager[None]:
        return in_words(self.uri, lambda: str(client().meta.endpoint_url), key)

    def _name(self, key: str) -> str:
        return self._below() + listed_key(key)

    def _below(self) -> str:
        """What the names of all objects of the store begin with."""
        return f"{self._prefix}/".lstrip("/")

    def _get(self, key: str) -> dict[str, Any]:
        return dict(client().get_object(Bucket=self._bucket, Key=self._name(key)))

    def _size(self, key: str) -> int:
        return self.entry(key).size

    @retrying
    def entry(self, key: str) -> Entry:
        with self._in_words(key):
            try:
                answer = client().head_object(Bucket=self._bucket, Key=self._name(key))
            except boto.ClientError as error:
                if status_of(error) >= 500:
                    raise
                # A HEAD's answer has no body: only a GET's says what is wrong.
                answer = patiently(lambda: self._get(key))
                answer["Body"].close()
            marked = MARK.items() <= answer.get("Metadata", {}).items()
            return Entry(key, int(answer["ContentLength"]), answer["LastModified"], marked)

    def _holds(self, ref: Ref) -> bool:
        with suppress(Missing):
            return self._size(ref.uri) == ref.size
        return False

    def _upload(self, ref: Ref, content: Path | bytes) -> None:
        source = io.BytesIO(content) if isinstance(content, bytes) else str(content)
        with self._in_words(ref.uri):
            try:
                with transfers() as manager:
                    extra = {"Metadata": MARK}
                    manager.upload(source, self._bucket, self._name(ref.uri), extra).result()
            except boto.ClientError as error:
                # If the answer to "complete" is lost, asking again finds no upload under way.
                if code_of(error) != "NoSuchUpload" or not self._holds(ref):
                    raise

    def _download(self, ref: Ref, to: Path) -> None:
        def download() -> None:
            with to.open("wb") as file:
                name = self._name(ref.uri)
                client().download_fileobj(self._bucket, name, file, Config=TRANSFER)

        with self._in_words(ref.uri):
            patiently(download)


def _headers(key: str) -> dict[str, Any]:
    """What is stored with a document: browsers render a report only if its type is HTML."""
    kind = mimetypes.guess_type(key)[0] or "application/octet-stream"
    return {"ContentType": kind, "Metadata": MARK}


def _bucket_and_prefix(address: str) -> tuple[str, str]:
    """The two parts of s3://bucket/prefix, checked with the care that keys get."""
    bucket, prefix = bucket_and_key(address, "store")
    prefix = prefix.removesuffix("/")
    try:
        return bucket, checked_key(prefix) if prefix else ""
    except ValueError:
        raise StoreError(
            f"store {address_without_secrets(address)!r}: expected a prefix of letters, "
            "digits and ._-~ between single slashes"
        ) from None


@dataclass(frozen=True)
class S3Slot:
    """The document of `store` under `key`."""

    store: S3Store
    key: str

    def look(self) -> Seen | None:
        return self.store.look(self.key)

    def create(self, content: bytes) -> bool:
        return self.store.write_if(self.key, content, IfNoneMatch="*")

    def replace(self, content: bytes, version: str) -> bool:
        return self.store.write_if(self.key, content, IfMatch=version)

    def clear(self) -> None:
        self.store.delete(self.key)
