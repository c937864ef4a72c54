"""The marker file, by which a store proves that it is relevo's and no other program's folder."""

from __future__ import annotations

from tasks.store.base import Missing, Oversized, Store, StoreError
from tasks.store.keys import FOLDERS, is_own

MARKER = "relevo-store.json"
MARKER_CONTENT = b'{"relevo": 1}\n'  # the version of the store's layout
NAMED = 3  # foreign files named in the message before "and N more"


def is_marked(store: Store) -> bool:
    """True if the store has relevo's marker, undamaged."""
    try:
        return store.read(MARKER, most=4096) == MARKER_CONTENT
    except (Missing, Oversized):
        return False


def check_store(store: Store) -> bool:
    """Refuse an address that holds other things; nothing is written. True if it has the marker.

    A store without the marker is fine if all in it has names of relevo's own form, or its cache has
    records, as in one of relevo 0.1.0.

    Raises:
        StoreError: the address holds other things.
    """
    if is_marked(store):
        return True
    names = [name for name in store.top() if not name.startswith(".") and name != MARKER]
    others = [name for name in names if name not in FOLDERS or not _is_own_folder(store, name)]
    if others and not any(map(is_own, store.keys("cache"))):
        more = f", and {len(others) - NAMED:,} more" if len(others) > NAMED else ""
        raise StoreError(
            f"store {store.uri} is no relevo store and holds other things "
            f"({', '.join(others[:NAMED])}{more}); give an empty folder or prefix of its own, "
            f"e.g. {store.uri}/relevo"
        )
    return False


def mark_store(store: Store) -> None:
    """Write the marker into a store that has none, before the first blob. Idempotent.

    Raises:
        StoreError: as for `check_store`.
    """
    if not check_store(store):
        store.write(MARKER, MARKER_CONTENT)


def _is_own_folder(store: Store, name: str) -> bool:
    return all(map(is_own, store.keys(name)))
