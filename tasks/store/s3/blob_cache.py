"""Local copies of a bucket's blobs: hashed at every use, and removed when unused for two weeks.

With RELEVO_BLOB_CACHE_GB, those not used for longest are removed before that, once there are more bytes.
"""

from __future__ import annotations

import math
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
from tasks.store.keys import PARTIAL

CACHE = "RELEVO_BLOB_CACHE"
BOUND = "RELEVO_BLOB_CACHE_GB"
IN_USE = timedelta(seconds=5)  # another process may be about to open what was used since
RELEASED = timedelta(days=1)  # by so much older is what its user no longer needs
MAX_IDLE = timedelta(days=14)  # as long as gc keeps what no run needs
ABANDONED = timedelta(hours=1)  # a download that writes nothing was killed; outages are shorter
COPY = re.compile(r"[0-9a-f]{64}|\.partial-[0-9a-f]{32}")
OWN = re.compile(r"([0-9a-f]{32}){1,2}|\.partial-[0-9a-f]{32}")  # other files stay


def cache_folder() -> Path:
    """Folder of the copies: $RELEVO_BLOB_CACHE, or in the user's cache folder.

    Raises:
        StoreError: the user has no home folder.
    """
    try:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:
        raise StoreError(f"there is no home folder to cache data in; set {CACHE}") from None
    return Path(os.environ.get(CACHE) or Path(home, "relevo", "blobs"))


def find_copy(ref: Ref) -> Path | None:
    """Path of the local copy of a blob, or None; removes a damaged one.

    Raises:
        StoreError: the folder can't be used.
    """
    folder = cache_folder()
    copy = folder / ref.sha256
    try:
        mark_used(copy)
        if sha256_of(copy) == (ref.sha256, ref.size):
            return copy
        copy.unlink(missing_ok=True)
    except FileNotFoundError:  # another thread may be making room
        return None
    except OSError as error:
        raise unusable_cache(folder, error) from None
    return None


def add_copy(ref: Ref, download: Callable[[Path], None]) -> Path | None:
    """Path of a new local copy of a blob, which `download` writes.

    Returns None if the downloaded bytes do not match the ref.

    Raises:
        StoreError: the folder can't be used.
    """
    folder = cache_folder()
    copy = folder / ref.sha256
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_idle(folder)
        # Twice, since the bytes may be damaged on their way, too.
        for _ in range(2):
            partial = folder / f"{PARTIAL}{uuid.uuid4().hex}"
            try:
                make_room(folder, ref.size)
                download(partial)
                if sha256_of(partial) == (ref.sha256, ref.size):
                    partial.replace(copy)
                    return copy
            finally:
                partial.unlink(missing_ok=True)
    except OSError as error:
        raise unusable_cache(folder, error) from None
    return None


def release(ref: Ref) -> None:
    """Let the copy of a blob go before others if the bound is reached: its user needs it no longer.

    Of several, the last goes first: the others are then still there for the next pass over all.
    """
    now, day = time.time(), RELEASED.total_seconds()
    then = now - day - 2 * (now % day)  # earlier, the later it is
    with suppress(OSError):  # it may have gone, or be another user's
        os.utime(cache_folder() / ref.sha256, (then, then))


def bound() -> int | None:
    """How many bytes the copies may take together, by $RELEVO_BLOB_CACHE_GB; None for any number.

    Raises:
        StoreError: it is no number above 0.
    """
    given = os.environ.get(BOUND, "").strip()
    try:
        bytes_ = float(given) * 1e9 if given else math.inf
    except ValueError:
        bytes_ = math.nan
    if not bytes_ > 0:
        raise StoreError(
            f"{BOUND} is {given!r}; expected a number of gigabytes above 0, or nothing"
        )
    return math.ceil(bytes_) if bytes_ < math.inf else None


def make_room(folder: Path, size: int) -> None:
    """Remove the copies that were not used for longest, until the others and one of `size` fit the bound."""
    most = bound()
    if most is None:
        return
    found, total, now = [], size, time.time()
    for path in folder.iterdir():
        with suppress(FileNotFoundError):
            if COPY.fullmatch(path.name):
                stat = path.stat()
                total += stat.st_size
                found.append((stat.st_mtime, stat.st_size, path))
    for used, each, path in sorted(found):
        if total <= most:
            return
        keep = ABANDONED if path.name.startswith(PARTIAL) else IN_USE
        if used < now - keep.total_seconds():
            with suppress(FileNotFoundError, PermissionError):
                path.unlink()
            total -= each


def unusable_cache(folder: Path, error: OSError) -> StoreError:
    """The error for a cache folder that can't be written or read."""
    reason = error.strerror or error
    return StoreError(
        f"the cache folder {folder} can't be used ({reason}); free space or set {CACHE}"
    )


def mark_used(path: Path) -> None:
    """Set the time of a cached file's or folder's last use to now."""
    with suppress(PermissionError):  # another user's
        os.utime(path)


def remove_idle(folder: Path) -> None:
    """Remove what has not been used for `MAX_IDLE`."""
    limit = time.time() - MAX_IDLE.total_seconds()
    for path in folder.iterdir():
        if OWN.fullmatch(path.name):
            with suppress(FileNotFoundError, PermissionError):
                if path.stat().st_mtime >= limit:
                    continue
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink()
