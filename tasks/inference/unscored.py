"""Which pictures a model has not scored yet: by name, size and time, or ETag in a bucket, before any is read.

Of a bucket's prefix, only new pictures are downloaded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from os.path import realpath
from pathlib import Path

from tasks.io.locations import check_allowed, local_data
from tasks.store.addresses import address_without_secrets
from tasks.vision.data.unlabelled import UnlabelledImages
from tasks.vision.files.containers import Folder
from tasks.vision.files.image_files import may_be_image


class Unscored:
    """The pictures at some addresses of which no key is known.

    Attributes:
        skipped: how many were left out, as their keys are known.
    """

    def __init__(self, known: frozenset[str]) -> None:
        self.skipped = 0
        self._known = known
        self._found: dict[str, tuple[str, str]] = {}  # title -> key and address
        self._in_bucket: dict[Path, tuple[str, dict[str, str]]] = {}  # copy -> address and states

    def open(self, given: Sequence[str]) -> UnlabelledImages:
        """Open the new pictures in files, folders, archives and buckets; errors as of `UnlabelledImages`."""
        paths: list[str] = []
        for each in given:
            paths += self._download(each) if each.startswith("s3://") else [local_data(each)]
        return UnlabelledImages(paths, self._select)

    def key_of(self, title: str) -> str:
        """The key of a picture that was opened."""
        return self._found[title][0]

    def address_of(self, title: str) -> str:
        """The absolute path or s3:// address of a picture that was opened."""
        return self._found[title][1]

    def _download(self, given: str) -> list[str]:
        """The local copy of what is new below an address; nothing if nothing is."""
        from tasks.store.s3.download import download_objects
        from tasks.store.s3.listing import list_objects

        check_allowed("data", given)
        address = address_without_secrets(given.rstrip("/"))
        objects = list_objects(given)
        states = {each.path: f"{each.size} {each.etag}" for each in objects}
        new = objects
        if objects[0].path:
            named = [each for each in objects if may_be_image(each.path)]
            new = [
                e for e in named if _key(f"{address}/{e.path}", states[e.path]) not in self._known
            ]
            self.skipped += len(named) - len(new)
        if not new:
            return []
        copy = download_objects(given, new)
        self._in_bucket[copy] = (address, states)
        return [str(copy)]

    def _select(self, path: Path, container: object, names: list[str]) -> list[str]:
        """The names of those that are new, of one folder, archive or file."""
        address, states = self._in_bucket.get(path, (realpath(path), {}))
        if not states and isinstance(container, Folder):
            found = container.states(names)[:, :2].tolist()
            states = {
                name: f"{size} {time}" for name, (size, time) in zip(names, found, strict=True)
            }
        if not states:
            status = path.stat()
            states = {"": f"{status.st_size} {status.st_mtime_ns}"}
        new = []
        for name in names:
            place = f"{address}/{name}" if name else address
            # Of an archive, its own state counts for all in it.
            key = _key(place, states.get(name, states.get("", "")))
            if key in self._known:
                self.skipped += 1
                continue
            new.append(name)
            self._found[str(path / name) if name else str(path)] = key, place
        return new


def _key(place: str, state: str) -> str:
    text = f"{place}\0{state}".encode("utf-8", "surrogateescape")
    return hashlib.blake2b(text, digest_size=16).hexdigest()
