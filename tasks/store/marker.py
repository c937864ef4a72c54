"""The marker file, by which a store proves that it is relevo's and no other program's folder."""

from __future__ import annotations

from tasks.store.base import Missing, Store, StoreError
from tasks.store.keys import is_own

MARKER = "relevo-store.json"
MARKER_CONTENT = b'{"relevo": 1}\n'  # the version of the store's layout
NAMED = 3  # foreign files named in the message before "and N more"


def is_marked(store: Store) -> bool:
    """True if the store has relevo's marker, undamaged."""
    try:
        return store.read(MARKER) == MARKER_CONTENT
    except Missing:
        return False


def mark_store(store: Store) -> None:
    """Write the marker into a new store, or refuse a folder of others. Idempotent.

    A store of relevo 0.1.0 has no marker, but records in its cache, and gets one.

    Raises:
        StoreError: the address holds other things.
    """
    if is_marked(store):
        return
    others = [name for name in store.top() if not name.startswith(".")]
    if others and not any(map(is_own, store.keys("cache"))):
        more = f" and {len(others) - NAMED} more" if len(others) > NAMED else ""
        raise StoreError(
            f"store {store.uri} is no relevo store and holds other things "
            f"({', '.join(others[:NAMED])}{more}); give an empty folder or prefix of its own, "
            f"e.g. {store.uri}/relevo"
        )
    store.write(MARKER, MARKER_CONTENT)
