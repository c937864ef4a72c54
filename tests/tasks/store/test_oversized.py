"""What is too large to be a document of a store is not read into memory, and counts as damaged."""

from __future__ import annotations

import pytest
from support.buckets import Backend

from tasks.cache.cache import Cache, Miss, record_key
from tasks.cache.records import Work
from tasks.runs.summary import read_summary
from tasks.store.base import MAX_ARRAYS, MAX_DOCUMENT, Oversized, Ref
from tasks.store.marker import MARKER, is_marked
from tasks.vision.errors import BadInput


def test_a_document_is_read_up_to_its_limit(backend: Backend) -> None:
    backend.store.write("runs/a/run.json", bytes(100))
    assert backend.store.read("runs/a/run.json", most=100) == bytes(100)
    with pytest.raises(Oversized, match=r"runs/a/run.json has 100 bytes, expected 99 at most"):
        backend.store.read("runs/a/run.json", most=99)


def test_a_huge_document_is_damaged_like_any_other(backend: Backend) -> None:
    huge, work = b" " * (MAX_DOCUMENT + 1), Work("train", {})
    for key in (MARKER, "runs/a/run.json", record_key(work)):
        backend.store.write(key, huge)
    assert not is_marked(backend.store)
    with pytest.raises(BadInput, match="damaged"):
        read_summary(backend.store, "a")
    found = Cache(backend.store).lookup(work)
    assert isinstance(found, Miss)
    assert found.damaged == record_key(work)


def test_a_ref_to_a_huge_model_is_refused_before_it_is_fetched(backend: Backend) -> None:
    from tasks.io.load import load_model

    forged = Ref(
        kind="model", uri="models/x", sha256="0" * 64, digest="0" * 64, size=MAX_ARRAYS + 1
    )
    with pytest.raises(Oversized):
        load_model(forged, backend.store)
