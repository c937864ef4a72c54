"""What was fetched from a bucket stays on this machine, is hashed at every use, and goes when long unused."""

from __future__ import annotations

import os
import re
import shutil
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from tasks.store.base import Ref, StoreError, sha256_of

CACHE = "RELEVO_BLOB_CACHE"
UNUSED = timedelta(days=14)  # as long as the store itself keeps what no run needs
OURS = re.compile(r"([0-9a-f]{32}){1,2}|\.partial-[0-9a-f]{32}")  # the folder may hold other files


def cache_folder() -> Path:
    """Where blobs are kept on this machine: $RELEVO_BLOB_CACHE, or below the user's cache folder.

    Raises:
        StoreError: there is no home folder to put it in.
    """
    try:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:
        raise StoreError(f"there is no home folder to cache data in; set {CACHE}") from None
    return Path(os.environ.get(CACHE) or Path(home, "relevo", "blobs"))


def cached_copy(ref: Ref, download: Callable[[Path], None]) -> Path | None:
    """A local file with the ref's bytes, which `download` writes if none is kept; None: it can't.

    Raises:
        StoreError: the folder can't be used.
    """
    folder = cache_folder()
    kept = folder / ref.sha256
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if kept.exists():
            use(kept)
            if sha256_of(kept) == (ref.sha256, ref.size):
                return kept
            kept.unlink(missing_ok=True)
        drop_unused(folder)
        # A second look before the store is blamed: the way here may damage bytes too.
        for _ in range(2):
            partial = folder / f".partial-{uuid.uuid4().hex}"
            try:
                download(partial)
                if sha256_of(partial) == (ref.sha256, ref.size):
                    partial.replace(kept)
                    return kept
            finally:
                partial.unlink(missing_ok=True)
    except OSError as error:
        raise unusable(folder, error) from None
    return None


def unusable(folder: Path, error: OSError) -> StoreError:
    """What is said of a folder that nothing can be kept in."""
    reason = error.strerror or error
    return StoreError(
        f"the cache folder {folder} can't be used ({reason}); free space or set {CACHE}"
    )


def use(path: Path) -> None:
    """Make a kept file or folder young again."""
    with suppress(PermissionError):  # another user's
        os.utime(path)


def drop_unused(folder: Path) -> None:
    """Remove what was kept in `folder` and has not been used for `UNUSED`."""
    limit = time.time() - UNUSED.total_seconds()
    for path in folder.iterdir():
        if OURS.fullmatch(path.name):
            with suppress(FileNotFoundError, PermissionError):
                if path.stat().st_mtime >= limit:
                    continue
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink()
