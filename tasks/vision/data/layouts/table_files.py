"""Find the table in a folder or archive, and the pictures that it names."""

from __future__ import annotations

from tasks.vision.data.layouts.image_folder import select_images, tally_hidden
from tasks.vision.data.layouts.layout import LabelledFile, Place
from tasks.vision.data.layouts.table import is_labelled, is_table, read_table
from tasks.vision.errors import BadInput
from tasks.vision.files.containers import ImageTree
from tasks.vision.files.left_out import Tally, is_junk
from tasks.vision.text import first_of, normalized, printable


def table_in(container: ImageTree, root: str) -> str:
    """The name of the table with labels in a folder ("" or "name/"); "" if there is none.

    Raises:
        BadInput: there are several.
    """
    named = sorted(filter(is_table, container.children(root.rstrip("/"))[1]))
    found = [
        name
        for name in named
        if isinstance(content := _content(container, root + name), bytes)
        and is_labelled(name, content)
    ]
    if len(found) > 1:
        raise BadInput(
            f"{container.given} holds several tables: {first_of(found)}; expected one: give the path of one, or"
            " put them together with a column split"
        )
    return found[0] if found else ""


def _content(container: ImageTree, path: str) -> bytes | str:
    return next(data for _, data in container.read([path]))


def listed_in_table(container: ImageTree, place: Place, tally: Tally) -> list[LabelledFile]:
    """The pictures that a table names; count those that it does not name.

    Raises:
        BadInput: the table is faulty, or a file is not there.
    """
    given = f"{container.given}/{printable(place.root + place.table)}"
    content = _content(container, place.root + place.table)
    if isinstance(content, str):
        raise BadInput(f"{given} can't be read ({content}); expected a table: mend it")
    there = _all_files(container, place.root, tally)
    rows = read_table(given, place.table, content)
    # A table from another system may have other forms of the same letters.
    forms = {normalized(path): path for path in there}
    files = [row._replace(path=forms.get(normalized(row.path), row.path)) for row in rows]
    if missing := [file.path for file in files if file.path not in there]:
        raise BadInput(
            f"{given}: files that are not there: {len(missing):,}: {first_of(missing, 3)}; expected paths"
            " relative to the table: correct them, or remove these lines"
        )
    named = {file.path for file in files}
    if others := [path for path, image in there.items() if image and path not in named]:
        tally.add("unlisted", place.table, place.root + min(others), len(others))
    return files


def _all_files(container: ImageTree, root: str, tally: Tally) -> dict[str, bool]:
    """The paths of all files below the root, relative to it; True for images."""
    found: dict[str, bool] = {}
    waiting = [root.rstrip("/")]
    while waiting:
        path = waiting.pop()
        if container.is_link_loop(path):
            continue
        folder = f"{path}/" if path else ""
        below = folder[len(root) :]
        folders, files = container.children(path)
        images = {*select_images(container, folder, files, Tally())}
        found |= {below + name: name in images for name in files}
        waiting += [folder + name for name in folders if not is_junk(name)]
        tally_hidden(container, path, below, None, tally)
    return found
