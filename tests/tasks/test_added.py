"""Pictures that were decoded before: after a kill, and as a folder grows, only the others are decoded."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from support.images import encoded, labelled_pngs, png, write_any
from support.pictures import deep, photo, png16
from support.stores import keep, make_old, mark

from tasks.cache.cache import Cache
from tasks.cache.records import Work
from tasks.io.prepared import load_dataset, shards_of
from tasks.prepare import prepare_images
from tasks.progress import listening
from tasks.runs.gc import collect
from tasks.runs.verify import check_all
from tasks.store.base import Ref
from tasks.store.opening import open_store
from tasks.vision.data.dataset import Dataset
from tasks.vision.data.shards import shards
from tasks.vision.data.sources import contents_of, find_source
from tasks.vision.errors import BadInput
from tasks.vision.recipe.data import Data

SIZE, PER_SHARD = 16, 10
SHARD = PER_SHARD * SIZE**2 * 3 + 1


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", SHARD)


def prepared(source: Path, store: Path, **settings: object) -> tuple[Ref, list[str]]:
    """The data set, and the lines that its preparation printed."""
    data = Data.model_validate({"source": str(source), "image_size": SIZE, **settings})
    contents, lines = contents_of(find_source(str(source))), []
    with listening(lambda event: lines.append(event.message)):
        ref = prepare_images.fn(str(source), data, [], contents, open_store(store)).ref
    return ref, lines


def opened(ref: Ref, store: Path) -> Dataset:
    return load_dataset(ref, open_store(store))


def decoded(lines: list[str]) -> tuple[int, int] | None:
    """How many images were decoded before, and of how many, by what was printed."""
    found = [re.match(r"([\d,]+) of ([\d,]+) images were decoded before", line) for line in lines]
    numbers = [tuple(int(n.replace(",", "")) for n in m.groups()) for m in found if m]
    return (numbers[0][0], numbers[0][1]) if numbers else None


def same_from_nothing(
    ref: Ref, source: Path, store: Path, tmp_path: Path, **settings: object
) -> None:
    """Check that a data set is the one that is prepared in an empty store."""
    other = tmp_path / "from nothing"
    shutil.rmtree(other, ignore_errors=True)
    whole, lines = prepared(source, other, **settings)
    assert decoded(lines) is None
    assert whole.digest == ref.digest
    ours, theirs = opened(ref, store), opened(whole, other)
    for split in ("train", "validation", "test"):
        a, b = ours.part(split), theirs.part(split)
        np.testing.assert_array_equal(a.images, b.images)
        np.testing.assert_array_equal(a.labels, b.labels)
        np.testing.assert_array_equal(ours.rows(split), theirs.rows(split))


FILES = labelled_pngs([""], ["a", "b"], 40)
MORE = {f"{name[0]}/x{name[2:]}": png(9000 + i) for i, name in enumerate(list(FILES)[:3])}


@pytest.mark.parametrize("form", ["set", "set.zip", "set.tar", "set.tar.gz"])
def test_of_a_folder_that_has_grown_only_the_new_pictures_are_decoded(
    form: str, tmp_path: Path
) -> None:
    source, store = write_any(tmp_path / form, FILES), tmp_path / "store"
    first, lines = prepared(source, store)
    assert decoded(lines) is None
    (shutil.rmtree if source.is_dir() else Path.unlink)(source)
    write_any(source, FILES | MORE)
    ref, lines = prepared(source, store)
    assert decoded(lines) == (80, 83)
    assert ref.digest != first.digest
    same_from_nothing(ref, source, store, tmp_path)
    before = {shard.uri for shard in shards_of(opened(first, store))}
    assert before < {shard.uri for shard in shards_of(opened(ref, store))}, (
        "no other shard is written"
    )


def test_of_a_table_only_the_new_pictures_are_decoded(tmp_path: Path) -> None:
    source, store = write_any(tmp_path / "set", FILES), tmp_path / "store"
    rows = [f"{name},{name[0]},patient {i // 4}\n" for i, name in enumerate(FILES | MORE)]
    table = source / "labels.csv"
    for count, before in ((len(FILES), None), (len(rows), (80, 83))):
        write_any(source, dict(list((FILES | MORE).items())[:count]))
        table.write_text("file,label,group\n" + "".join(rows[:count]))
        ref, lines = prepared(table, store)
        assert decoded(lines) == before
    same_from_nothing(ref, table, store, tmp_path)


def test_pictures_removed_replaced_and_renamed(tmp_path: Path) -> None:
    source, store = write_any(tmp_path / "set", FILES), tmp_path / "store"
    prepared(source, store)
    names = list(FILES)
    (source / names[3]).unlink()
    (source / names[5]).write_bytes(png(77))
    (source / names[7]).rename(source / "b/renamed.png")
    ref, lines = prepared(source, store)
    assert decoded(lines) == (78, 79)
    same_from_nothing(ref, source, store, tmp_path)
    for name in names[8:75]:
        (source / name).unlink(missing_ok=True)
    ref, lines = prepared(source, store, test=0.4)
    before = decoded(lines)
    assert before
    assert before[0] == before[1], "none is decoded"
    same_from_nothing(ref, source, store, tmp_path, test=0.4)
    data = opened(ref, store)
    assert len(data.description.shards) <= 2, "shards of which little is used are joined"


def test_shards_stay_few_however_often_a_picture_is_added(tmp_path: Path) -> None:
    source, store = write_any(tmp_path / "set", labelled_pngs([""], "ab", 4)), tmp_path / "store"
    for step in range(40):
        write_any(source, {f"a/x{step}.png": png(step)})
        ref, lines = prepared(source, store)
        assert decoded(lines) == (None if step == 0 else (8 + step, 9 + step))
    counts = [shard.count for shard in opened(ref, store).description.shards]
    assert sum(counts) == 48
    assert len(counts) <= 2 * 48 / PER_SHARD + 1
    same_from_nothing(ref, source, store, tmp_path)


def test_flipped_byte_in_a_shard_is_healed_where_pictures_are_added(tmp_path: Path) -> None:
    source, store = write_any(tmp_path / "set", FILES), tmp_path / "store"
    first, _ = prepared(source, store)
    damaged = store / shards_of(opened(first, store))[3].uri
    content = bytearray(damaged.read_bytes())
    content[-5] ^= 1
    damaged.write_bytes(content)
    write_any(source, MORE)
    ref, lines = prepared(source, store)
    assert "is damaged" in "".join(lines)
    assert decoded(lines) == (70, 83)
    same_from_nothing(ref, source, store, tmp_path)
    assert not [each for each in check_all(str(store)) if each.fault and "shards/" in each.key]


@pytest.mark.parametrize("folder", ["pieces", "cache", "datasets"])
def test_flipped_byte_in_what_is_known_of_pictures_means_to_decode_again(
    folder: str, tmp_path: Path
) -> None:
    source, store = write_any(tmp_path / "set", FILES), tmp_path / "store"
    prepared(source, store)
    for path in (store / folder).iterdir():
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    write_any(source, MORE)
    ref, lines = prepared(source, store)
    # Of pieces that are whole, those of the same pictures are found, whatever the index says.
    assert decoded(lines) in (None, (40, 83), (80, 83))
    same_from_nothing(ref, source, store, tmp_path)


def test_deep_samples_are_decoded_again_where_their_range_changes(tmp_path: Path) -> None:
    def some(bits: int, seed: int) -> bytes:
        return png16(deep(bits, 1) // (seed + 1))

    files = {f"{c}/{i}.png": png(i + 50 * ord(c)) for c in "ab" for i in range(9)}
    files |= {f"{c}/d{i}.png": some(10, i + ord(c)) for c in "ab" for i in range(3)}
    files |= {"a/large.png": some(10, 0), "b/cut.jpg": encoded(photo(1), "JPEG")[:-2]}
    source, store = write_any(tmp_path / "set", files), tmp_path / "store"
    ref, _ = prepared(source, store, max_unreadable=0.1)
    assert opened(ref, store).description.bits == 10
    for more, bits in (({"a/12.png": some(12, 0)}, 12), ({"b/new.png": png(1)}, 12)):
        write_any(source, more)
        ref, lines = prepared(source, store, max_unreadable=0.1)
        about = opened(ref, store).description
        assert (about.bits, about.odd.count) == (bits, 1)
        assert decoded(lines)
        same_from_nothing(ref, source, store, tmp_path, max_unreadable=0.1)


def test_pictures_that_cannot_be_decoded_are_named_each_time(tmp_path: Path) -> None:
    files = FILES | {"a/bad.png": b"", "b/bad.png": b"no picture"}
    source, store = write_any(tmp_path / "set", files), tmp_path / "store"
    first, lines = prepared(source, store, max_unreadable=0.1)
    assert "left out a/bad.png: an empty file, not an image" in lines
    write_any(source, MORE)
    ref, lines = prepared(source, store, max_unreadable=0.1)
    assert "left out a/bad.png: an empty file, not an image" in lines
    assert opened(ref, store).description.unreadable == opened(first, store).description.unreadable
    same_from_nothing(ref, source, store, tmp_path, max_unreadable=0.1)


def test_another_size_or_fit_is_decoded_from_the_files(tmp_path: Path) -> None:
    source, store = write_any(tmp_path / "set", FILES), tmp_path / "store"
    prepared(source, store)
    for other in ({"image_size": 24}, {"fit": "pad"}):
        assert decoded(prepared(source, store, **other)[1]) is None
    assert decoded(prepared(source, store, validation=0.3)[1]) == (80, 80)


def test_data_that_cannot_be_divided_leaves_nothing_in_the_store(tmp_path: Path) -> None:
    source = write_any(tmp_path / "set", {f"{c}/1.png": png(ord(c)) for c in "ab"})
    with pytest.raises(BadInput, match="expected 3 or more"):
        prepared(source, tmp_path / "store")
    assert not open_store(tmp_path / "store").top()


def test_gc_keeps_what_a_growing_folder_needs_and_verify_finds_no_fault(tmp_path: Path) -> None:
    source, store = write_any(tmp_path / "set", FILES), tmp_path / "store"
    prepared(source, store)
    assert not [each for each in check_all(str(store)) if each.fault]
    assert collect(str(store)).removed == []
    write_any(source, MORE)
    assert decoded(prepared(source, store)[1]) == (80, 83)
    make_old(store, 60)
    mark(store)
    collect(str(store))
    assert not [each for folder in ("pieces", "shards") for each in (store / folder).glob("*")]
    assert decoded(prepared(source, store)[1]) is None


def test_forged_records_of_pieces_and_of_the_last_data_set_change_nothing(tmp_path: Path) -> None:
    source, store = write_any(tmp_path / "set", FILES), tmp_path / "store"
    prepared(source, store)
    home = open_store(store)
    cache = Cache(home)
    keys = [entry.key for entry in cache.entries()]
    pieces = [key for key in keys if key.startswith("cache/piece-")]
    others = {key: cache.read(key).ref for key in pieces}
    model = home.put("model", b"no data set", ".safetensors")
    for key, other in zip(pieces, [*pieces[1:], pieces[0]], strict=True):
        cache.record(Work("piece", cache.read(key).ingredients), others[other])
    (last,) = set(keys) - set(pieces)
    wrong = (model, model.model_copy(update={"kind": "dataset"}), others[pieces[0]])
    for forged, before in zip(wrong, (None, (80, 80), (80, 80)), strict=True):
        cache.record(Work("previous", cache.read(last).ingredients), forged)
        ref, lines = prepared(source, store)
        assert decoded(lines) == before, "the records of pieces are written again"
        same_from_nothing(ref, source, store, tmp_path)


KILLED = """
import sys
from tasks.vision.data.shards import shards
shards.SHARD_BYTES = int(sys.argv[3])
from tasks.prepare import prepare_images
from tasks.store.opening import open_store
from tasks.vision.data.sources import contents_of, find_source
from tasks.vision.recipe.data import Data
source, store = sys.argv[1], open_store(sys.argv[2])
data = Data(source=source, image_size=int(sys.argv[4]))
prepare_images.fn(source, data, [], contents_of(find_source(source)), store)
"""


@pytest.mark.parametrize("form", ["set", "set.tar.gz"])
def test_preparation_that_is_killed_goes_on_at_the_shard_it_was_at(
    form: str, tmp_path: Path
) -> None:
    source, store = tmp_path / form, tmp_path / "store"
    write_any(source, labelled_pngs([""], "ab", 800))
    words = [sys.executable, "-c", KILLED, source, store, str(SHARD), str(SIZE)]
    child = subprocess.Popen([str(word) for word in words])
    deadline = time.monotonic() + 120
    while len(list(store.glob("cache/piece-*"))) < 5 and time.monotonic() < deadline:
        time.sleep(0.001)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL, "it was killed before it had finished"
    ref, lines = prepared(source, store)
    before = decoded(lines)
    assert before
    assert 5 * PER_SHARD <= before[0] < before[1] == 1600
    assert before[0] % PER_SHARD == 0
    same_from_nothing(ref, source, store, tmp_path)


@pytest.mark.parametrize("form", ["set", "set.zip"])
def test_a_data_set_of_an_earlier_form_is_prepared_again_with_a_line(
    form: str, tmp_path: Path
) -> None:
    source, store = write_any(tmp_path / form, FILES), tmp_path / "store"
    index = mark(store).put("dataset", b"an index as version 0.1 wrote it", ".safetensors")
    digest = contents_of(find_source(str(source))).digest
    code = {"tasks.vision.data.prepare": "0" * 64}
    keep(store, index, "prepare", source=digest, image_size=SIZE, code=code)
    line = "the store's data set has an earlier version's form; preparing it again"
    for count in (1, 0):
        ref, lines = prepared(source, store)
        assert lines.count(line) == count
    same_from_nothing(ref, source, store, tmp_path)
