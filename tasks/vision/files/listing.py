"""Names of files alone, as a bucket lists them, laid out as folders before anything is downloaded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from tasks.vision.files.image_files import is_hidden
from tasks.vision.pictures.kinds import Kind
from tasks.vision.text import printable


class ListedFiles:
    """The folders that a list of paths makes up; what a file is, its name has to say.

    Args:
        given: where they are, for messages.
    """

    cut = False

    def __init__(self, given: str, paths: Iterable[str]) -> None:
        self.given = printable(given)
        self._tree: dict[str, tuple[dict[str, None], list[str]]] = {"": ({}, [])}
        for path in paths:
            *folders, name = path.split("/")
            if any(map(is_hidden, (*folders, name))):
                continue
            above = ""
            for folder in folders:
                self._tree[above][0][folder] = None
                above = f"{above}/{folder}" if above else folder
                self._tree.setdefault(above, ({}, []))
            self._tree[above][1].append(name)

    def children(self, folder: str) -> tuple[list[str], list[str]]:
        """As of a `Container`."""
        folders, files = self._tree.get(folder, ({}, []))
        return list(folders), list(files)

    def hidden_images(self, folder: str) -> dict[str, int]:
        """None are looked for."""
        return {}

    def junk(self, folder: str) -> list[str]:
        """None is looked for."""
        return []

    def kind(self, path: str) -> Kind | None:
        """Any file may be an image until it is there."""
        return Kind("unknown")

    def reading_order(self, paths: Sequence[str]) -> list[int]:
        """Nothing can be read yet."""
        return []

    def read(self, paths: Sequence[str]) -> Iterator[tuple[int, bytes | str]]:
        """Nothing can be read yet."""
        yield from ((index, "not downloaded yet") for index in range(len(paths)))

    def close(self) -> None:
        """Nothing is open."""

    def is_link_loop(self, path: str) -> bool:
        """Buckets have no links."""
        return False
