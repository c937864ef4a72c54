"""The layout of a store: its folders, which keys are valid, and which names are relevo's own.

A bucket or a folder may be shared with others, so only what `is_own` is ever removed; of an alias's records,
which are its history, none.
"""

from __future__ import annotations

import re
from typing import Literal, get_args

Kind = Literal[
    "dataset",
    "shard",
    "piece",
    "model",
    "evaluation",
    "export",
    "report",
    "download",
    "network",
    "feature",
    "check",
]
BLOB_FOLDERS: tuple[str, ...] = tuple(f"{kind}s" for kind in get_args(Kind))
FOLDERS = (
    *BLOB_FOLDERS,
    *("aliases", "cache", "checkpoints", "damaged", "locks", "machines", "outcomes", "pages"),
    *("predictions", "runs", "searches", "sweeps", "watch"),
)
ALIAS = "[a-z][a-z0-9_-]{0,39}"  # small letters alone, since some folders don't tell a from A
WATCH = "[a-z0-9][a-z0-9-]{0,99}"
PARTIAL = ".partial-"  # begins the name of a file that is being written

_HASH = "[0-9a-f]{64}"
_UUID = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_OWN = re.compile(
    rf"""
      ({"|".join(BLOB_FOLDERS)})/{_HASH}(\.(safetensors|zip|keras|tar\.gz|json))?
    | cache/[a-z]+-{_HASH}\.json
    | checkpoints/[a-z]+-{_HASH}\.[ab]
    | locks/[a-z]+-{_HASH}
    | aliases/{ALIAS}/\d{{8}}\.json
    | machines/{_UUID}/(round|[0-9a-f]{{32}}(-\d{{1,2}})?)\.json
    | outcomes/{_UUID}\.json
    | pages/{_UUID}\.(csv|html)
    | predictions/{_UUID}\.(csv|png)
    | runs/[^/]+/(run|lineage|unfinished)\.json
    | runs/[^/]+/(report\.html|recipe\.toml|environment\.txt|figures/[^/]+\.png)
    | runs/[^/]+/models/[^/]+/(model\.safetensors|model\.keras|labels\.json|read_image\.py|README\.md)
    | watch/{WATCH}/(look|\d{{8}})\.json
    | searches/{_HASH}/\d{{4}}\.json
    | sweeps/[^/]+/sweep\.(json|html)
    | runs/[^/]+/tensorboard/[^/]+/events\.out\.tfevents\.\d+\.relevo
    | ({"|".join(FOLDERS)})/([^/]+/)*{re.escape(PARTIAL)}[0-9a-f]{{32}}
    """,
    re.VERBOSE | re.ASCII,
)


def blob_key(kind: Kind, sha256: str, suffix: str) -> str:
    """Key of the blob of this kind and hash, e.g. models/HASH.safetensors."""
    return f"{kind}s/{sha256}{suffix}"


def is_own(key: str) -> bool:
    """True if relevo writes keys of this form.

    >>> is_own("models/resnet50-final.pt")
    False
    """
    folder, _, aside = key.partition("/")
    return bool(_OWN.fullmatch(aside.replace("~", "/") if folder == "damaged" else key))


def checked_key(key: str) -> str:
    """Return `key` if it may be written: a relative path of letters, digits and ._-~=

    Raises:
        ValueError: it is absolute, leads out of the store or holds other characters.
    """
    if not re.fullmatch(r"[\w.~=-]+(/[\w.~=-]+)*", key, re.ASCII) or not stays_inside(key):
        raise ValueError(
            f"store key {key!r}: expected a relative path of letters, digits and ._-~="
        )
    return key


def listed_key(key: str) -> str:
    """Return `key` if it may be read or removed: any relative path that stays inside the store.

    Others may put files under any name into a store; only a `checked_key` is ever written.

    Raises:
        ValueError: it is absolute or leads out of the store.
    """
    if not stays_inside(key):
        raise ValueError(f"store key {key!r}: expected a relative path that stays inside the store")
    return key


def stays_inside(key: str) -> bool:
    """True for a relative path that names a file and has no empty, . or .. parts."""
    return not {"", ".", ".."} & {*key.split("/")} and "\0" not in key
