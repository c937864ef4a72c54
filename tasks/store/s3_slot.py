"""The slot of a lease in a bucket: one document, written only under S3's conditions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks.store.lease import Seen

if TYPE_CHECKING:
    from tasks.store.s3 import S3Store


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
