"""What relevo can prove to have written: names of its own form, in a store with its own marker.

A bucket or a folder may be shared with others. Only what `is_own` is ever removed, and on S3 only
objects that carry relevo's mark in their metadata besides.
"""

from __future__ import annotations

import re

from tasks.store.base import Missing, Store, StoreError

MARKER = "relevo-store.json"
MARKED = b'{"relevo": 1}\n'  # what it holds: the version of the store's form
FOLDERS = (
    *("cache", "checkpoints", "damaged", "datasets", "downloads", "evaluations", "exports"),
    *("locks", "models", "outcomes", "predictions", "reports", "runs"),
)
HASH = "[0-9a-f]{64}"
UUID = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
SHOWN = 3  # other things named before "and so many more"

OWN = re.compile(
    rf"""
      (datasets|models|evaluations|exports|reports|downloads)/{HASH}(\.(safetensors|zip|keras|tar\.gz|json))?
    | cache/[a-z]+-{HASH}\.json
    | checkpoints/[a-z]+-{HASH}\.[ab]
    | locks/[a-z]+-{HASH}
    | outcomes/{UUID}\.json
    | predictions/{UUID}\.(csv|png)
    | runs/[^/]+/(run|lineage|unfinished)\.json
    | runs/[^/]+/(report\.html|recipe\.toml|environment\.txt|figures/[^/]+\.png)
    | runs/[^/]+/models/[^/]+/(model\.safetensors|model\.keras|labels\.json|README\.md)
    | runs/[^/]+/tensorboard/[^/]+/events\.out\.tfevents\.\d+\.relevo
    | ({"|".join(FOLDERS)})/([^/]+/)*\.partial-[0-9a-f]{{32}}
    """,
    re.VERBOSE | re.ASCII,
)


def is_own(key: str) -> bool:
    """Whether a key is one that relevo writes.

    >>> is_own("models/resnet50-final.pt")
    False
    """
    folder, _, aside = key.partition("/")
    return bool(OWN.fullmatch(aside.replace("~", "/") if folder == "damaged" else key))


def is_marked(store: Store) -> bool:
    """Whether the store has relevo's marker, and that is whole."""
    try:
        return store.read(MARKER) == MARKED
    except Missing:
        return False


def begin(store: Store) -> None:
    """Mark the store as relevo's before anything is written to it; one that is marked stays as it is.

    Raises:
        StoreError: the address holds other things. A store that relevo 0.1.0 wrote is none of these.
    """
    if is_marked(store):
        return
    others = [name for name in store.top() if not name.startswith(".")]
    if others and not any(map(is_own, store.keys("cache"))):
        more = f" and {len(others) - SHOWN} more" if len(others) > SHOWN else ""
        raise StoreError(
            f"store {store.uri} is no relevo store and holds other things "
            f"({', '.join(others[:SHOWN])}{more}); give an empty folder or prefix of its own, "
            f"e.g. {store.uri}/relevo"
        )
    store.write(MARKER, MARKED)
