"""Task: turn a source of images into a prepared data set in the store."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tasks.cache.cached_task import Published, cached_task
from tasks.io.documents import read_ref
from tasks.io.locations import find_data
from tasks.progress import Event, counted, emit
from tasks.store.base import Damaged, Missing, Store
from tasks.store.marker import mark_store
from tasks.vision.data import cifar10
from tasks.vision.data.dataset import Description
from tasks.vision.data.prepare import prepare
from tasks.vision.data.sources import fingerprint, read_source
from tasks.vision.data.targets import apply_scheme
from tasks.vision.errors import BadInput
from tasks.vision.recipe.schema import Data, LabelScheme
from tasks.vision.text import printable


@cached_task
def prepare_images(
    given: str, data: Data, schemes: list[LabelScheme], digest: str, store: Store
) -> Published:
    """Read, decode, split and publish the images of a source.

    Args:
        schemes: don't change the result; one that names a missing class fails the task early.
        digest: of the source's content when its cache key was computed.

    Raises:
        BadInput: the images can't be used, or have changed since the key was computed.
    """
    emit(Event("prepare data", f"reading {given}"))
    source = find_data(given)

    def accept(classes: list[str]) -> None:
        if len(classes) < 2:
            raise BadInput(
                f"{printable(given)} has one class, {classes[0]!r}; expected two or more: add a folder"
                " train/CLASS and test/CLASS for another"
            )
        for scheme in schemes:
            apply_scheme(scheme, classes)

    with tempfile.TemporaryDirectory(prefix="relevo-") as folder:
        archive = fetch_archive(store, Path(folder)) if source.kind == "cifar10" else None
        found = read_source(
            source,
            data.image_size,
            max_unreadable=data.max_unreadable,
            cifar10_archive=archive,
            accept=accept,
        )
        # The source may have changed since its key was computed; hashing is cheap next to decoding.
        if fingerprint(source) != digest:
            raise BadInput(
                f"{printable(given)} changed while it was read; wait until nothing writes there, then "
                "start the run again"
            )
        train, test = (len(found.splits[name].labels) for name in ("train", "test"))
        about = f"{train:,} training images, {test:,} test images, of {len(found.classes)} classes"
        emit(Event("prepare data", about))
        path = Path(folder) / "dataset"
        _report(prepare(found, data.image_size, data.validation, path))
        mark_store(store)
        ref = store.put("dataset", path, ".safetensors")
    return Published(ref=ref)


def _report(about: Description) -> None:
    """Emit a line for each image or kind of file that is left out, and for images that need a check."""
    lines = [f"left out {each}" for each in (*about.unreadable.first, *about.left_out)]
    if more := about.unreadable.count - len(about.unreadable.first):
        lines.append(f"left out {more:,} more images that can't be decoded")
    lines += [f"read {each}" for each in about.odd.first]
    if more := about.odd.count - len(about.odd.first):
        lines.append(f"read {more:,} more images that are odd")
    if about.validation:
        images = counted(sum(about.counts["validation"]), "validation image")
        lines.append(f"{about.validation}/: {images}; data.validation is not used")
    if about.bits < 16:
        lines.append(f"16-bit images use {about.bits} bits; they are scaled by that")
    for what, pairs in (
        ("in both train and test", about.duplicates),
        ("the same pixels with different labels", about.contradictions),
    ):
        if pairs.count:
            a, b = pairs.first[0]
            lines.append(f"{what}: {counted(pairs.count, 'image')}, such as {a} = {b}")
    for line in lines:
        emit(Event("prepare data", printable(line)))


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
