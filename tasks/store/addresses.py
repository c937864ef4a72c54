"""Addresses: buckets and what lies in them, checked, and shown without the secrets that people put there.

A name and a password before an @ work in some programs' addresses, and are typed into others'.
"""

from __future__ import annotations

import re

from tasks.store.base import StoreError


def without_secrets(text: str) -> str:
    """`text` without what stands between // and @ in the addresses that it names.

    Up to the last @ of a word, since secret keys hold slashes.

    >>> without_secrets("http://me:secret@host:4200/api doesn't answer")
    "http://host:4200/api doesn't answer"
    """
    return re.sub(r"//\S*@", "//", text)


def bucket_and_key(address: str, what: str) -> tuple[str, str]:
    """The two parts of s3://bucket/key; the key may be empty and is not checked.

    Args:
        what: `address` is of, "store" or "data", for the message.

    Raises:
        StoreError: that is no bucket's name.
    """
    bucket, _, key = address.removeprefix("s3://").partition("/")
    if not re.fullmatch(r"(?!.*\.\.)(?![\d.]+$)[a-z\d][a-z\d.-]{1,61}[a-z\d]", bucket, re.ASCII):
        raise StoreError(
            f"{what} {address_without_secrets(address)!r}: expected s3://bucket/prefix, the bucket's "
            "name 3 to 63 small letters, digits, - and ."
        )
    return bucket, key


def address_without_secrets(address: str) -> str:
    """One s3:// address without secrets, which may even hold spaces there."""
    return f"s3://{address.removeprefix('s3://').rpartition('@')[2]}"
