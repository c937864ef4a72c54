"""Hashes of files that are remembered: used for files that have not changed, and for no other."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from support.images import labelled_pngs, read, write_folder

from tasks.vision.data import contents, known_hashes
from tasks.vision.data.contents import Reuse
from tasks.vision.data.known_hashes import KnownHashes
from tasks.vision.data.pieces.piece_folder import PieceFolder
from tasks.vision.data.sources import contents_of, find_source, fingerprint
from tasks.vision.errors import BadInput
from tasks.vision.files.containers import Folder

FILES = labelled_pngs(["train/", "test/"], "ab", 5)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose hashes are remembered though it is small and was just written."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(contents, "LEAST", 1)
    monkeypatch.setattr(known_hashes, "SETTLED", -4 * 10**18)
    return write_folder(tmp_path / "set", FILES)


def known_in(folder: Path) -> np.ndarray:
    paths, files = sorted(FILES), Folder(folder, str(folder))
    return KnownHashes(files).of(paths, files.states(paths))[0]


def test_hashes_are_remembered_until_a_file_is_written(folder: Path) -> None:
    before = fingerprint(find_source(str(folder)))
    assert known_in(folder).all()
    path = folder / sorted(FILES)[3]
    stat, content = path.stat(), path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert np.flatnonzero(~known_in(folder)).tolist() == [3], "of the same size and time"
    assert fingerprint(find_source(str(folder))) != before
    path.write_bytes(content)
    assert fingerprint(find_source(str(folder))) == before


def test_a_file_that_was_just_written_is_not_remembered(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_hashes, "SETTLED", 2 * 10**9)
    fingerprint(find_source(str(folder)))
    assert not known_in(folder).any()


def test_damaged_memory_is_passed_over(folder: Path, tmp_path: Path) -> None:
    before = fingerprint(find_source(str(folder)))
    (file,) = (tmp_path / "cache/relevo/hashes").iterdir()
    whole = file.read_bytes()
    for at in range(0, len(whole), 37):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert fingerprint(find_source(str(folder))) == before
    file.write_bytes(whole[:100])
    assert fingerprint(find_source(str(folder))) == before


def test_a_wrong_hash_is_noticed_where_the_file_is_read_and_forgotten(folder: Path) -> None:
    """As on a file system that does not say that a file has changed."""
    first = contents_of(find_source(str(folder)))
    assert first.hashes is not None
    paths, files = sorted(FILES), Folder(folder, str(folder))
    wrong = np.zeros((len(paths), 16), np.uint8)
    KnownHashes(files).remember(paths, files.states(paths), wrong, 0)

    def prepare() -> None:
        read(folder, reuse=Reuse(contents_of(find_source(str(folder))), PieceFolder()))

    with pytest.raises(BadInput, match="changed while it was read"):
        prepare()
    prepare()
    assert fingerprint(find_source(str(folder))) == first.digest
