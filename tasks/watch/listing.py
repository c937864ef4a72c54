"""A cheap listing of a data set: names, sizes and times, or ETags in a bucket; no file is read."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from tasks.io.locations import BUILT_IN, check_allowed
from tasks.store.addresses import check_scheme, without_secrets
from tasks.store.base import Missing
from tasks.vision.data.layouts.table import is_table
from tasks.vision.data.sources import find_source, table_of
from tasks.vision.errors import BadInput
from tasks.vision.files.archives import ARCHIVE_SUFFIXES
from tasks.vision.files.containers import Folder
from tasks.vision.files.image_files import is_hidden, may_be_image
from tasks.vision.files.left_out import is_junk

MOST_FILES = 2_500_000  # whose rows fit into a document of the store
ROW = 16  # bytes of a file: half of the hash of its name, half of the hash of its state


@dataclass(frozen=True)
class _File:
    """A file below the address: its path, when it was written, and what changes when it is written to."""

    path: str
    written: datetime
    state: str


@dataclass(frozen=True)
class Changes:
    """How many files were added, removed and written to since another listing.

    Attributes:
        whole: an archive or a table is new or was written to, and any picture of it may have changed.
        folders: how many files were added, by the folder that they are in, the most first.
    """

    added: int
    removed: int
    written: int
    whole: bool
    folders: dict[str, int]

    @property
    def files(self) -> int:
        """How many files differ."""
        return self.added + self.removed + self.written


class Listing:
    """The files of a data set, as hashes; no dataclass, since Prefect would walk through them.

    Attributes:
        rows: (n, 2) uint64, hashes of name and state, sorted by the first.
        whole: hash of the states of archives and tables. newest: when the last file was written.
    """

    def __init__(self, rows: np.ndarray, whole: str, newest: datetime, paths: list[str]) -> None:
        self.rows, self.whole, self.newest, self._paths = rows, whole, newest, paths

    @property
    def digest(self) -> str:
        """SHA-256, 64 hex characters, of all names and states."""
        return hashlib.sha256(self.rows.tobytes() + self.whole.encode()).hexdigest()

    def packed(self) -> str:
        """Return the rows as text, for `changes_since`."""
        return base64.b64encode(self.rows.astype("<u8").tobytes()).decode()

    def changes_since(self, packed: str, whole: str) -> Changes:
        """Compare with an earlier listing.

        Args:
            packed, whole: of that one; "" if there was none.

        Raises:
            ValueError: other text than `packed` returns.
        """
        before = _unpacked(packed)
        new = ~np.isin(self.rows[:, 0], before[:, 0])
        same_name = before[np.isin(before[:, 0], self.rows[:, 0])]
        at = np.searchsorted(self.rows[:, 0], same_name[:, 0])
        folders = Counter(_folder_of(self._paths[row]) for row in np.flatnonzero(new).tolist())
        return Changes(
            added=int(new.sum()),
            removed=len(before) - len(same_name),
            written=int((self.rows[at, 1] != same_name[:, 1]).sum()),
            whole=self.whole != whole,
            folders=dict(sorted(folders.items(), key=lambda each: (-each[1], each[0]))),
        )


def _unpacked(packed: str) -> np.ndarray:
    try:
        content = base64.b64decode(packed, validate=True)
    except binascii.Error:
        raise ValueError("its listing is damaged") from None
    if len(content) % ROW:
        raise ValueError("its listing is damaged")
    return np.frombuffer(content, "<u8").reshape(-1, 2).astype(np.uint64)


def list_data(given: str) -> Listing:
    """List a folder, archive, table or `s3://` address.

    Raises:
        BadInput: there is nothing, nothing that could be a picture, or it never changes, as digits.
        StoreError: the bucket is out of reach.
    """
    if given in BUILT_IN:
        raise BadInput(
            f"data {given!r} never changes; watch a folder, archive, table or s3:// address, as --data"
        )
    check_scheme(given, "data")
    check_allowed("data", given.rpartition("/")[0] or "." if is_table(given) else given)
    listed = _in_bucket(given) if "://" in given else _on_disk(given)
    files = [file for file in listed if _may_be_data(file.path)]
    if not files:
        raise BadInput(f"data {without_secrets(given)!r} holds no picture; nothing to watch yet")
    if len(files) > MOST_FILES:
        raise BadInput(
            f"data {without_secrets(given)!r} has {len(files):,} files; expected {MOST_FILES:,} at most: "
            "watch a part of them, or pack them into archives"
        )
    hashed = sorted((_hash(file.path), _hash(file.state), row) for row, file in enumerate(files))
    rows = np.array([each[:2] for each in hashed], np.uint64)
    states = sorted(f"{file.path}\0{file.state}" for file in files if _is_whole(file.path))
    whole = hashlib.sha256("\0".join(states).encode("utf-8", "surrogateescape")).hexdigest()
    newest = max(file.written for file in files)
    return Listing(rows, whole if states else "", newest, [files[at].path for *_, at in hashed])


def _in_bucket(given: str) -> Iterator[_File]:
    if not given.startswith("s3://"):
        raise BadInput(
            f"data {without_secrets(given)!r} can't be listed from here; give a path or s3://bucket/key"
        )
    from tasks.store.s3.listing import list_objects

    folder, _, table = given.rpartition("/") if is_table(given) else (given, "", "")
    name = given.rpartition("/")[2]
    try:
        found = list_objects(folder)
    except Missing as error:
        raise BadInput(f"data {without_secrets(given)!r}: {error}; check the spelling") from None
    for each in found:
        if not table or not is_table(each.path) or each.path == table:
            yield _File(each.path or name, each.modified, f"{each.size} {each.etag}")


def _on_disk(given: str) -> Iterator[_File]:
    source = find_source(given)
    assert source.path
    if source.kind == "archive":
        paths, folder = [source.path.name], Folder(source.path.parent, given, strict=False)
    else:
        table = table_of(source)
        top = source.path.parent if table else source.path
        folder = Folder(top, given, strict=False)
        paths = [each for each in _below(folder) if not (table and is_table(each)) or each == table]
    for path, (size, modified, changed, _) in zip(paths, folder.states(paths), strict=True):
        # A copy may have the times of the original; when it came is the time of the inode's change.
        written = datetime.fromtimestamp(max(int(modified), int(changed)) / 1e9, UTC)
        yield _File(path, written, f"{size} {modified}")


def _below(folder: Folder) -> Iterator[str]:
    waiting = [""]
    while waiting:
        path = waiting.pop()
        if path and folder.is_link_loop(path):
            continue
        folders, files = folder.children(path)
        before = f"{path}/" if path else ""
        waiting += [before + name for name in folders if not is_junk(name)]
        yield from (before + name for name in files)


def _may_be_data(path: str) -> bool:
    """True for names that may be pictures, tables or archives."""
    *folders, name = path.split("/")
    if is_junk(name) or any(is_hidden(each) or is_junk(each) for each in (*folders, name)):
        return False
    return may_be_image(name) or _is_whole(path)


def _is_whole(path: str) -> bool:
    return is_table(path) or ("/" not in path and path.lower().endswith(ARCHIVE_SUFFIXES))


def _folder_of(path: str) -> str:
    return Path(path).parent.name


def _hash(text: str) -> int:
    data = text.encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")
