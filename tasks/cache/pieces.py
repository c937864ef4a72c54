"""Pieces of data sets in the cache: those of an interrupted preparation, and those of an earlier data set."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tasks.cache.cache import Cache, Hit, Miss
from tasks.cache.records import Work
from tasks.io.prepared import faulty_shards, load_dataset, piece_ref, pieces_of, shard_ref
from tasks.progress import Event, emit
from tasks.store.base import Missing, Ref, Store, StoreError, Unavailable, sha256_of
from tasks.vision.data.contents import Contents
from tasks.vision.data.pieces.piece_folder import temporary_folder
from tasks.vision.data.pieces.pieces import Piece, PieceFile, read_piece
from tasks.vision.data.shards.shards import Shard
from tasks.vision.errors import BadInput

FORM = ".pieces"  # ends a module in the code of all data sets since pictures are prepared in pieces


class StoredPieces:
    """A `PieceStore` in a store, with a cache record for each piece.

    The first shard is held back until there is another one, or `finish` is called, so that data that can't be
    used leaves nothing in the store if it is small.

    Args:
        settings: what the pixels depend on beside the files. before: called before anything is stored.
        refresh: find nothing.
    """

    def __init__(
        self,
        store: Store,
        settings: Mapping[str, object],
        *,
        before: Callable[[], None] = lambda: None,
        refresh: bool = False,
    ) -> None:
        self._store, self._cache, self._settings = store, Cache(store), dict(settings)
        self._before, self._refresh, self._storing = before, refresh, False
        self._folder = temporary_folder(self)
        self._held: tuple[Shard, Path] | None = None
        self._held_piece: tuple[str, bytes, Shard] | None = None

    def find(self, key: str, image_size: int) -> Piece | None:
        """As of a `PieceStore`; a damaged one is moved aside."""
        if self._refresh:
            return None
        found = self._cache.lookup(self._work(key))
        if isinstance(found, Miss):
            if found.damaged:
                self._store.set_aside(found.damaged)
            return None
        if found.ref.kind != "piece":
            return None
        stored = PieceFile(file=found.ref.sha256, size=found.ref.size)
        return _whole([_read(self._store, stored, image_size)], self._store)[0]

    @contextmanager
    def claim(self, key: str, *, wait: bool) -> Iterator[bool]:
        """As of a `PieceStore`."""

        def on_wait() -> None:
            if not wait:
                raise _Busy
            emit(Event("prepare data", "waiting for images that another process decodes"))

        with ExitStack() as held:
            try:
                held.enter_context(self._store.claim(self._work(key).key, on_wait))
            except _Busy:
                yield False
                return
            yield True

    def publish_shard(self, path: Path, count: int) -> Shard:
        """As of a `PieceStore`."""
        if not self._storing:
            if self._held is None:
                file, size = sha256_of(path)
                held = self._folder / file
                path.replace(held)
                self._held = Shard(file=file, size=size, count=count), held
                return self._held[0]
            self.finish()
        ref = self._store.put("shard", path, ".safetensors")
        return Shard(file=ref.sha256, size=ref.size, count=count)

    def publish_piece(self, key: str, path: Path, shard: Shard) -> PieceFile:
        """As of a `PieceStore`."""
        if not self._storing:
            content = path.read_bytes()
            self._held_piece = key, content, shard
            file, size = sha256_of(content)
            return PieceFile(file=file, size=size)
        return self._recorded(key, path, shard)

    def shard_path(self, shard: Shard) -> Path:
        """As of a `PieceStore`."""
        if self._held and self._held[0] == shard:
            return self._held[1]
        return self._store.open_blob(shard_ref(shard))

    def finish(self) -> None:
        """As of a `PieceStore`."""
        if self._storing:
            return
        self._before()
        self._storing = True
        if self._held:
            self._store.put("shard", self._held[1], ".safetensors")
            self._held[1].unlink()
            self._held = None
        if self._held_piece:
            self._recorded(*self._held_piece)
            self._held_piece = None

    def _recorded(self, key: str, content: Path | bytes, shard: Shard) -> PieceFile:
        made_from = (shard_ref(shard),)
        ref = self._store.put("piece", content, ".safetensors", made_from=made_from)
        self._cache.record(self._work(key), ref)
        return PieceFile(file=ref.sha256, size=ref.size)

    def _work(self, key: str) -> Work:
        return Work("piece", {**self._settings, "files": key})


class _Busy(Exception):
    """Another process makes the piece."""


class EarlierDatasets:
    """The data set that was last prepared from an address, for each address and settings.

    It saves work where pictures are added, and changes no result. Addresses are stored as hashes.
    """

    def __init__(self, store: Store, settings: Mapping[str, object], address: str) -> None:
        place = address if "://" in address else os.path.realpath(address)
        self._store, self._cache = store, Cache(store)
        hashed, _ = sha256_of(place.encode("utf-8", "surrogateescape"))
        self._work = Work("previous", {**settings, "address": hashed})

    def pieces(self, image_size: int) -> list[Piece]:
        """Return the pieces of that data set that are whole; none if there is no such data set."""
        found = self._cache.lookup(self._work)
        if not isinstance(found, Hit) or found.ref.kind != "dataset":
            return []
        try:
            stored = pieces_of(load_dataset(found.ref, self._store))
        except (BadInput, Missing):
            return []
        with ThreadPoolExecutor() as pool:
            pieces = list(pool.map(lambda each: _read(self._store, each, image_size), stored))
        return [piece for piece in _whole(pieces, self._store) if piece]

    def of_another_form(self, contents: Contents, image_size: int) -> bool:
        """Whether the cache has a data set of a form that is no longer read, maybe of this source."""
        for entry in self._cache.entries():
            if entry.key.startswith("cache/prepare-"):
                with suppress(Missing, ValueError, KeyError, TypeError):
                    was = self._cache.read(entry.key).ingredients
                    # The content of a folder was hashed in another way.
                    same = contents.layout is not None or was.get("source") == contents.digest
                    read = any(name.endswith(FORM) for name in was["code"])
                    if same and was.get("image_size") == image_size and not read:
                        return True
        return False

    def record(self, ref: Ref) -> None:
        """Note that this data set is the last one; without it, nothing but time is lost."""
        try:
            self._cache.record(self._work, ref)
        except Unavailable:
            raise
        except StoreError as error:
            emit(Event("cache", f"the data set is not noted for the next time: {error}"))


def _read(store: Store, stored: PieceFile, image_size: int) -> Piece | None:
    """Read a piece's file; None if it is missing, damaged or another one."""
    with suppress(Missing, ValueError):
        try:
            return read_piece(store.open_blob(piece_ref(stored)), stored, image_size)
        except Unavailable:
            raise
        except StoreError:
            store.set_aside(piece_ref(stored).uri)
    return None


def _whole(pieces: Sequence[Piece | None], store: Store) -> list[Piece | None]:
    """Leave out pieces whose shard is missing or damaged, which is moved aside."""
    shards = {shard_ref(piece.shard).uri: shard_ref(piece.shard) for piece in pieces if piece}
    faults = faulty_shards(list(shards.values()), store)
    for uri, error in faults.items():
        if not isinstance(error, Missing):
            aside = store.set_aside(uri)
            emit(Event("cache", f"{error}; moved to {aside}, its images are decoded again"))
    return [
        piece if piece and shard_ref(piece.shard).uri not in faults else None for piece in pieces
    ]
