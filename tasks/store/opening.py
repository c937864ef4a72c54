"""Opening a store by its address."""

from __future__ import annotations

from pathlib import Path

from tasks.store.addresses import check_scheme, without_secrets
from tasks.store.base import Store, StoreError


def open_store(uri: str | Path, *, retry_for: float = 0.0) -> Store:
    """The store at `uri`: a local folder, created by the first write, or s3://bucket/prefix.

    Args:
        retry_for: seconds for which every request waits for a server that is out of reach. Commands
            report that at once; jobs give `outages.OUTAGE`. A folder has no server to wait for.

    Raises:
        StoreError: another scheme, or a malformed address.
    """
    address = str(uri)
    check_scheme(address, "store")
    if address.startswith("s3://"):
        from tasks.store.s3.store import S3Store

        return S3Store(address, retry_for)
    if "://" in address and not address.startswith("file://"):
        raise StoreError(f"store {without_secrets(address)!r}: give a folder or s3://bucket/prefix")
    from tasks.store.local import LocalStore

    return LocalStore(Path(address.removeprefix("file://")))
