"""Open prepared data sets in the store, and check that their shards are whole."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from tasks.store.base import Damaged, Missing, Ref, Store, StoreError
from tasks.store.keys import Kind, blob_key
from tasks.store.s3.blob_cache import bound, release
from tasks.vision.data.dataset import Dataset, open_dataset
from tasks.vision.data.pieces.pieces import PieceFile
from tasks.vision.data.shards.shard_files import Room
from tasks.vision.data.shards.shards import Shard

MOST_DOWNLOADED = 256 << 20  # bytes of shards that are fetched to see whether they are whole
RUN_AGAIN = "start the run again, which prepares the data set again"


def load_dataset(ref: Ref, store: Store) -> Dataset:
    """Open a prepared data set; its images are fetched and read where they are used, or shortly before."""
    most = bound() if store.remote else None
    room = Room(most, lambda shard: release(shard_ref(shard))) if most is not None else None
    return open_dataset(store.open_blob(ref), lambda shard: _open_shard(shard, store), room)


def _open_shard(shard: Shard, store: Store) -> Path:
    """Path of a shard's file; a damaged one is moved aside, so that the next run prepares the data again."""
    ref = shard_ref(shard)
    try:
        return store.open_blob(ref)
    except Damaged as error:
        try:
            aside = store.set_aside(ref.uri)
        except StoreError:
            raise error from None
        raise Damaged(f"{error}, and was moved to {aside}; {RUN_AGAIN}") from None
    except Missing as error:
        raise Missing(f"{error}; {RUN_AGAIN}") from None


def check_dataset(ref: Ref, store: Store) -> Dataset:
    """Open a data set whose shards are all there.

    Their bytes are checked as far as that doesn't mean downloading much; the others are when they are used.

    Raises:
        Missing, Damaged: a shard is not there, or has other bytes.
        BadInput: it is no data set.
    """
    data = load_dataset(ref, store)
    for error in faulty_shards(shards_of(data), store).values():
        raise error
    return data


def faulty_shards(shards: list[Ref], store: Store) -> dict[str, Missing | Damaged]:
    """Return what is wrong with shards, by their URI; checked as far as `check_dataset` says."""
    faults: dict[str, Missing | Damaged] = {}
    most = min(MOST_DOWNLOADED, bound() or math.inf) if store.remote else math.inf
    if sum(shard.size for shard in shards) <= most:
        with ThreadPoolExecutor() as pool:  # hashing leaves Python to other threads
            for shard, fault in zip(shards, pool.map(partial(_fault, store), shards), strict=True):
                if fault:
                    faults[shard.uri] = fault
        return faults
    found = {entry.key: entry.size for entry in store.entries("shards")}
    for shard in shards:
        if found.get(shard.uri) != shard.size:
            why = f"{shard.uri} is not in the store {store.uri}, or has another size"
            faults[shard.uri] = Missing(why)
    return faults


def _fault(store: Store, shard: Ref) -> Missing | Damaged | None:
    try:
        store.open_blob(shard)
    except (Missing, Damaged) as error:
        return error
    return None


def shards_of(data: Dataset) -> list[Ref]:
    """Return the refs of a data set's shards."""
    return [shard_ref(shard) for shard in data.description.shards]


def pieces_of(data: Dataset) -> list[PieceFile]:
    """Return the files with what is known of a data set's images; none if they were no pictures."""
    return list(data.description.pieces)


def blobs_beside(ref: Ref, store: Store) -> list[Ref]:
    """Return the refs of the blobs that a data set's index or a piece names; none of any other.

    Raises:
        Missing, Damaged: the index can't be read. BadInput: it is something else.
    """
    if ref.kind != "dataset":
        return list(ref.made_from) if ref.kind == "piece" else []
    data = load_dataset(ref, store)
    return [*shards_of(data), *map(piece_ref, pieces_of(data))]


def shard_ref(shard: Shard) -> Ref:
    """Return the ref of a shard."""
    return _blob_ref("shard", shard.file, shard.size)


def piece_ref(piece: PieceFile) -> Ref:
    """Return the ref of a piece's own file."""
    return _blob_ref("piece", piece.file, piece.size)


def _blob_ref(kind: Kind, file: str, size: int) -> Ref:
    uri = blob_key(kind, file, ".safetensors")
    return Ref(kind=kind, uri=uri, sha256=file, size=size, digest=file)
