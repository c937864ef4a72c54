"""Task: turn a source of images into a prepared data set in the store."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tasks.cache.cached_task import Published, cached_task
from tasks.cache.keys import decoding
from tasks.cache.pieces import EarlierDatasets, StoredPieces
from tasks.io.documents import read_ref
from tasks.io.locations import BUILT_IN, find_data
from tasks.progress import Event, counted, emit
from tasks.store.base import Damaged, Missing, Store
from tasks.store.marker import mark_store
from tasks.vision.data import cifar10
from tasks.vision.data.batches.targets import apply_scheme
from tasks.vision.data.contents import Contents, Reuse
from tasks.vision.data.dataset import Description
from tasks.vision.data.pieces.picture_set import OnShare
from tasks.vision.data.prepare import prepare
from tasks.vision.data.sources import help_read, read_source
from tasks.vision.errors import BadInput
from tasks.vision.files.left_out import LeftOut
from tasks.vision.recipe.data import TEST_SHARE, Data
from tasks.vision.recipe.schema import LabelScheme
from tasks.vision.text import percent, printable


@cached_task
def prepare_images(
    given: str,
    data: Data,
    schemes: list[LabelScheme],
    contents: Contents,
    store: Store,
    *,
    refresh: bool = False,
    on_share: OnShare = lambda pieces: None,
) -> Published:
    """Read, decode, split and publish the images of a source; what was decoded before is not decoded again.

    Args:
        schemes: don't change the result; one that names a missing class fails the task early.
        contents: of the source, when its cache key was computed. refresh: decode all.
        on_share: as for `fill_pieces`.

    Raises:
        BadInput: the images can't be used, or have changed since the key was computed.
    """
    emit(Event("prepare data", f"reading {given}"))
    source = find_data(given)

    def accept(classes: list[str]) -> None:
        if len(classes) < 2:
            raise BadInput(
                f"{printable(given)} has one class, {classes[0]!r}; expected two or more: add a folder"
                " of pictures for another"
            )
        for scheme in schemes:
            apply_scheme(scheme, classes)

    pieces, before = _pieces(given, data, store, refresh=refresh)
    earlier = [] if refresh or given in BUILT_IN else before.pieces(data.image_size)
    if not (refresh or earlier) and before.of_another_form(contents, data.image_size):
        emit(
            Event(
                "prepare data",
                "the store's data set has an earlier version's form; preparing it again",
            )
        )
    with tempfile.TemporaryDirectory(prefix="relevo-") as folder:
        archive = fetch_archive(store, Path(folder)) if source.kind == "cifar10" else None
        found = read_source(
            source,
            data.image_size,
            max_unreadable=data.max_unreadable,
            fit=data.fit,
            cifar10_archive=archive,
            accept=accept,
            reuse=Reuse(contents, pieces, earlier, _say_reused, on_share),
        )
        path = Path(folder) / "dataset"
        prepared = prepare(found, data, path, pieces)
        about = prepared.about
        for line in (*_split_lines(about, data), *_lines(about), *map(_left_out, found.junk)):
            emit(Event("prepare data", printable(line)))
        ref = store.put("dataset", path, ".safetensors", digest=prepared.digest)
    if about.pieces:
        before.record(ref)
    return Published(ref=ref)


def help_prepare(given: str, data: Data, contents: Contents, store: Store) -> int:
    """Decode images for another process that prepares the same data set; return how many pieces it stored.

    Raises:
        BadInput: as for `prepare_images`.
    """
    pieces, before = _pieces(given, data, store, refresh=False)
    reuse = Reuse(contents, pieces, before.pieces(data.image_size))
    return help_read(find_data(given), data.image_size, data.fit, reuse)


def _pieces(
    given: str, data: Data, store: Store, *, refresh: bool
) -> tuple[StoredPieces, EarlierDatasets]:
    settings = decoding(data)
    pieces = StoredPieces(store, settings, before=partial(mark_store, store), refresh=refresh)
    return pieces, EarlierDatasets(store, settings, given)


def _say_reused(reused: int, count: int) -> None:
    others = "; decoding the others" if reused < count else ""
    emit(Event("prepare data", f"{reused:,} of {count:,} images were decoded before{others}"))


def _split_lines(about: Description, data: Data) -> Iterator[str]:
    """Yield the number of images, and how they came to be divided."""
    count = {split: sum(counts) for split, counts in about.counts.items()}
    train = count["train"] + count["validation"]
    yield f"{train:,} training images, {count['test']:,} test images, of {len(about.classes)} classes"
    made = about.made
    if made and made.test:
        yield f"no test images: about {percent(made.test)} of each class are set aside for test by content"
    elif data.test != TEST_SHARE:
        yield "the data has test images; data.test is not used"
    if about.validation:
        images = counted(count["validation"], "validation image")
        yield f"{about.validation}: {images}; data.validation is not used"
    elif made:
        rest = "the others" if made.test else "train"
        yield f"no validation images: {percent(data.validation)} of {rest} are held out for it by content"
    if made and made.groups:
        yield f"the members of each of {counted(made.groups, 'group')} are in one split"
    if made and made.alike:
        yield f"{counted(made.alike, 'image')} with a near duplicate: each is in the split of those like it"


def _left_out(each: LeftOut | str) -> str:
    return f"left out {each}"


def _lines(about: Description) -> list[str]:
    """Return a line for each image or kind of file that is left out, and for images to look at."""
    lines = [*map(_left_out, about.unreadable.first), *map(_left_out, about.left_out)]
    if more := about.unreadable.count - len(about.unreadable.first):
        lines.append(f"left out {more:,} more images that can't be decoded")
    lines += [f"read {each}" for each in about.odd.first]
    if more := about.odd.count - len(about.odd.first):
        lines.append(f"read {more:,} more images that are odd")
    if about.bits < 16:
        lines.append(f"16-bit images use {about.bits} bits; they are scaled by that")
    for what, pairs in (
        ("in both train and test", about.duplicates),
        ("the same pixels with different labels", about.contradictions),
    ):
        if pairs.count:
            a, b = pairs.first[0]
            lines.append(f"{what}: {counted(pairs.count, 'image')}, such as {a} = {b}")
    return lines


def fetch_archive(home: Store, folder: Path) -> Path:
    """Return CIFAR-10's archive in the store; if missing, download it to `folder` and store it."""
    key = f"downloads/{cifar10.SHA256}.json"
    try:
        ref = read_ref(home.read(key))
        if ref.sha256 == cifar10.SHA256:
            archive = home.fetch(ref)
            for used in (ref.uri, key):  # protects them from gc
                home.touch(used)
            return archive
    except (Missing, Damaged, ValueError):
        pass
    emit(Event("prepare data", f"downloading {cifar10.URL}"))
    archive = cifar10.fetch(folder)
    ref = home.put("download", archive, ".tar.gz")
    home.write(key, ref.model_dump_json().encode())
    return archive
