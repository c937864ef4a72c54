"""Resolve the addresses that a user gives on this machine: of the store, and of images."""

from __future__ import annotations

import os

from tasks.store.addresses import check_scheme, without_secrets
from tasks.store.base import Missing, Store
from tasks.store.opening import open_store
from tasks.vision.errors import BadInput

DEFAULT_STORE = "./artifacts"


def store_address(given: str | None) -> str:
    """Normalized address of the store, a path absolute: `given`, else $RELEVO_STORE, else a folder here.

    Raises:
        StoreError: a malformed address.
    """
    return open_store(given or os.environ.get("RELEVO_STORE") or DEFAULT_STORE).uri


def existing_store(address: str) -> Store:
    """Open a store that has been written to.

    Raises:
        BadInput: there is no such store. StoreError: it is out of reach.
    """
    home = open_store(address)
    if not home.exists():
        raise BadInput(
            f"store {address} isn't there; expected a folder or s3://bucket/prefix that a run has "
            "written to; correct --store or RELEVO_STORE"
        )
    return home


def local_data(given: str) -> str:
    """Resolve a --data value to what this machine can read; s3:// is downloaded into the cache folder.

    Raises:
        BadInput: nothing is stored at that address, or its scheme is not s3.
        StoreError: the bucket is out of reach.
    """
    check_scheme(given, "data")
    if "://" not in given:
        return given
    if not given.startswith("s3://"):
        raise BadInput(
            f"{without_secrets(given)!r} can't be fetched from here; give a path or s3://bucket/key"
        )
    from tasks.store.s3.download import download_images

    try:
        return str(download_images(given))
    except Missing as error:
        raise BadInput(
            f"data {given!r}: {error}; expected an archive, or a folder with train/ and test/"
        ) from None
