"""What an address means on the machine that uses it: the store's, and that of images."""

from __future__ import annotations

import os

from tasks.store.addresses import without_secrets
from tasks.store.base import Store
from tasks.store.opening import open_store
from tasks.vision.errors import BadInput

DEFAULT_STORE = "./artifacts"


def store_address(given: str | None) -> str:
    """The store as given, else $RELEVO_STORE, else a folder here; in its one form, a path absolute.

    Raises:
        StoreError: no store can have that address.
    """
    return open_store(given or os.environ.get("RELEVO_STORE") or DEFAULT_STORE).uri


def existing_store(address: str) -> Store:
    """The store, where something has been written to it.

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
    """A --data value that can be read here: what lies in a bucket is brought into the cache folder.

    Raises:
        BadInput: nothing lies under that address, or it is of another kind.
        StoreError: the bucket is out of reach.
    """
    if "://" not in given:
        return given
    if not given.startswith("s3://"):
        raise BadInput(
            f"{without_secrets(given)!r} can't be fetched from here; give a path or s3://bucket/key"
        )
    from tasks.store.base import Missing
    from tasks.store.s3.download import bring

    try:
        return str(bring(given))
    except Missing as error:
        raise BadInput(
            f"data {given!r}: {error}; expected an archive, or a folder with train/ and test/"
        ) from None
