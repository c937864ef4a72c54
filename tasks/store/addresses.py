"""Addresses of buckets: parsing, and printing without credentials.

Some programs accept NAME:PASSWORD@ in an address, so people type it into others, too.
"""

from __future__ import annotations

import re

from tasks.store.base import StoreError


def without_secrets(text: str) -> str:
    """Remove credentials from the addresses in `text`: what stands between // and @.

    Up to the last @ of a word, since secret keys contain slashes.

    >>> without_secrets("http://me:secret@host:4200/api doesn't answer")
    "http://host:4200/api doesn't answer"
    """
    return re.sub(r"//\S*@", "//", text)


def check_scheme(address: str, what: str) -> None:
    """Refuse an address that has lost a part of its ://, which would be the name of a folder.

    Args:
        what: the address is of, "store" or "data", for the message.

    Raises:
        StoreError: s3:/bucket, S3://bucket, s3//bucket, file:/folder and the like.
    """
    known = re.match(r"(s3|gs|az|file|https?)(:/*|//)", address, re.I)
    found = known or re.match(r"([a-z][a-z0-9+.-]+)(:/+)", address, re.I)
    if found and not (found[2].startswith("://") and found[1].islower()):
        shown = without_secrets(address)
        meant = f"s3://{shown[found.end() :]}" if found[1].lower() == "s3" else "s3://bucket/prefix"
        raise StoreError(
            f"{what} {shown!r}: did you mean {meant!r}? A folder of that name is './{shown}'"
        )


def bucket_and_key(address: str, what: str) -> tuple[str, str]:
    """Split s3://bucket/key; the key may be empty and is not checked.

    Args:
        what: "store" or "data", for the error message.

    Raises:
        StoreError: S3 allows no bucket of that name.
    """
    bucket, _, key = address.removeprefix("s3://").partition("/")
    if not re.fullmatch(r"(?!.*\.\.)(?![\d.]+$)[a-z\d][a-z\d.-]{1,61}[a-z\d]", bucket, re.ASCII):
        raise StoreError(
            f"{what} {address_without_secrets(address)!r}: expected s3://bucket/prefix, the bucket's "
            "name 3 to 63 small letters, digits, - and ."
        )
    return bucket, key


def address_without_secrets(address: str) -> str:
    """Remove credentials, which may even contain spaces, from one s3:// address."""
    return f"s3://{address.removeprefix('s3://').rpartition('@')[2]}"
