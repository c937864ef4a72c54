"""Resolve the addresses that a user gives on this machine: of the store, and of images."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from os.path import expanduser, realpath
from pathlib import Path

from tasks.store.addresses import check_scheme, without_secrets
from tasks.store.base import Missing, Store
from tasks.store.opening import open_store
from tasks.vision.data.layouts.find_layout import find_layout
from tasks.vision.data.layouts.missing_split import EXPECTED
from tasks.vision.data.layouts.split_names import SPLITS
from tasks.vision.data.layouts.table import is_table
from tasks.vision.data.sources import Source, find_source
from tasks.vision.errors import BadInput
from tasks.vision.files.archives import ARCHIVE_SUFFIXES
from tasks.vision.files.listing import ListedFiles

DEFAULT_STORE = "./artifacts"
ALLOWED = "RELEVO_ALLOWED"  # folders and s3:// addresses, separated by spaces
BUILT_IN = ("digits", "cifar10")


def store_address(given: str | None) -> str:
    """Normalized address of the store, a path absolute: `given`, else $RELEVO_STORE, else a folder here.

    Raises:
        StoreError: a malformed address.
    """
    address = open_store(given or os.environ.get("RELEVO_STORE") or DEFAULT_STORE).uri
    if given:
        check_allowed("store", address)
    return address


def check_allowed(what: str, address: str) -> None:
    """Refuse an address that $RELEVO_ALLOWED doesn't list, if it is set.

    A worker sets it, since parameters of a run otherwise name any path that it reads, and any bucket.

    Raises:
        BadInput: neither the address nor what it lies below is listed.
    """
    listed = os.environ.get(ALLOWED, "").split()
    own = filter(None, [os.environ.get("RELEVO_STORE")])
    if listed and not any(_is_below(address, each) for each in (*listed, *own)):
        raise BadInput(
            f"{what} {without_secrets(address)!r} is not allowed on this machine; give one below an address "
            f"in its {ALLOWED}"
        )


def _is_below(address: str, allowed: str) -> bool:
    if "://" in address or "://" in allowed:
        plain = ".." not in address.split("/")
        return plain and f"{address}/".startswith(f"{allowed.rstrip('/')}/")
    return Path(realpath(expanduser(address))).is_relative_to(realpath(expanduser(allowed)))  # noqa: PTH111


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


def find_data(given: str, splits: Sequence[str] = SPLITS, *, instead: bool = False) -> Source:
    """Resolve a --data value to labelled images; s3:// is downloaded, if its names are laid out for it.

    Args:
        splits, instead: as for `find_layout`, which sees the names alone.

    Raises:
        BadInput: it names no source. StoreError: the bucket is out of reach.
    """
    if "://" not in given:
        return find_source(local_data(given))
    address = without_secrets(given)
    folder, _, table = given.rpartition("/") if is_table(given) else (given, "", "")

    def accept(paths: list[str]) -> None:
        if paths == [""]:
            if not folder.lower().endswith(ARCHIVE_SUFFIXES):
                raise BadInput(
                    f"data {address!r} is no folder, archive or table; expected {', '.join(ARCHIVE_SUFFIXES)}"
                    f" or a folder with {EXPECTED}"
                )
        elif table and table not in paths:
            raise BadInput(f"data {address!r} isn't there; expected a table: check the spelling")
        elif not any(map(is_table, paths)):  # else its rows say what there is
            find_layout(ListedFiles(address, paths), splits, instead=instead)

    path = local_data(folder, accept)
    return replace(find_source(f"{path}/{table}" if table else path), given=address)


def local_data(given: str, accept: Callable[[list[str]], None] | None = None) -> str:
    """Resolve a --data value to what this machine can read; s3:// is downloaded into the cache folder.

    Args:
        accept: called with the paths below a prefix, or [""] for an object, before the download; may raise.

    Raises:
        BadInput: nothing is stored at that address, or its scheme is not s3.
        StoreError: the bucket is out of reach.
    """
    if given in BUILT_IN:
        return given
    if is_table(given):  # which names files beside it
        check_allowed("data", given.rpartition("/")[0] or ".")
    try:
        return local_path(given, "data", repr(without_secrets(given)), accept)
    except Missing as error:
        raise BadInput(
            f"data {given!r}: {error}; expected an archive, a table, or a folder of images"
        ) from None


def local_path(
    given: str, key: str, shown: str, accept: Callable[[list[str]], None] | None = None
) -> str:
    """Return a path as it is, and the path of the local copy of what is at s3://.

    Args:
        key: what the address is of, and `shown`: how it is given, for messages.
        accept: as for `local_data`.

    Raises:
        Missing: nothing is stored there.
        BadInput: its scheme is not s3, or it is not allowed. StoreError: the bucket is out of reach.
    """
    check_scheme(given, key)
    check_allowed(key, given)
    if "://" not in given:
        return given
    if not given.startswith("s3://"):
        raise BadInput(f"{shown} can't be fetched from here; give a path or s3://bucket/key")
    from tasks.store.s3.download import download_images

    return str(download_images(given, accept))
