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
