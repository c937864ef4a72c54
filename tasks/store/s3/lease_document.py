"""A lease's document in a bucket, by S3's conditional writes."""

from __future__ import annotations

from contextlib import closing, suppress
from dataclasses import dataclass, replace

from tasks.store.base import Missing
from tasks.store.lease import Version
from tasks.store.outages import retrying
from tasks.store.s3.client import retry_interrupted
from tasks.store.s3.objects import Objects

# Bytes that are read: more than a holder writes; anything longer is not a lease.
MAX_LEASE = 100


@dataclass(frozen=True)
class S3LeaseDocument:
    """The object under `key`; see `lease.LeaseDocument`."""

    objects: Objects
    key: str
    retry_for: float = 0.0  # seconds

    def without_retries(self) -> S3LeaseDocument:
        return replace(self, retry_for=0.0)

    @retrying
    def read(self) -> Version | None:
        with suppress(Missing), self.objects.errors(self.key):
            return retry_interrupted(self._read)
        return None

    def _read(self) -> Version:
        response = self.objects.get(self.key)
        with closing(response["Body"]) as body:
            return Version(str(response["ETag"]), bytes(body.read(MAX_LEASE)))

    def create(self, content: bytes) -> str | None:
        return self._put(content, IfNoneMatch="*")

    def replace(self, content: bytes, tag: str) -> str | None:
        return self._put(content, IfMatch=tag)

    @retrying
    def delete(self) -> None:
        with suppress(Missing), self.objects.errors(self.key):
            self.objects.delete(self.key)

    @retrying
    def _put(self, content: bytes, **condition: str) -> str | None:
        with self.objects.errors(self.key):
            return self.objects.put_if(self.key, content, **condition)
