"""Folders of classes, `<class>/<image>`: the pictures in each, at any depth, and what lies beside them."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence

from tasks.vision.data.layouts.split_names import LAYOUT, SPLITS, is_validation, split_of
from tasks.vision.errors import BadInput
from tasks.vision.files.containers import Tree, link_loop
from tasks.vision.files.image_files import is_image, looks_like_image
from tasks.vision.files.left_out import Reason, Tally, is_junk, junk_kind
from tasks.vision.text import first_of, normalized, printable

Classes = dict[str, list[str]]  # class -> paths of its images below the root; both sorted


def find_classes(container: Tree, root: str, split: str, tally: Tally) -> Classes:
    """Images by class of the folder `split` below the root, at any depth; names in Unicode's form C.

    Args:
        split: name of the split's folder; "" if the class folders are in the root itself.
    """
    top = f"{split}/" if split else ""
    folders, files = container.children((root + top).rstrip("/"))
    labels = sorted(name for name in folders if not is_junk(name))
    stray = select_images(container, root + top, files, Tally())
    if stray and (split or not labels):
        expected = LAYOUT if split_of(split) in SPLITS else f"{top}<class>/<image>"
        raise BadInput(
            f"{container.given} has {printable(top + min(stray))}; expected {expected}: move it there"
        )
    if not labels:
        raise BadInput(
            f"{container.given} has no class folders in {split or 'it'}; expected {top or LAYOUT}"
            f"{'<class>/<image>' if split else ' or <class>/<image>'}"
        )
    if stray:
        tally.add("unsorted", root or "/", root + min(stray), len(stray))
    tally_hidden(container, root + top, top, None, tally)
    classes: Classes = {}
    for label in labels:
        if not split and len(labels) > 2 and _is_empty(container, root + label):
            tally.add("empty", label, label)
            continue
        found = _class_images(container, root, f"{top}{label}", tally)
        classes.setdefault(normalized(label), []).extend(f"{top}{label}/{name}" for name in found)
    return {label: sorted(classes[label]) for label in sorted(classes)}


def classes_in_folder(container: Tree, folder: str) -> set[str]:
    """Names of the classes in a folder of class folders."""
    return {normalized(name) for name in container.children(folder)[0] if not is_junk(name)}


def _is_empty(container: Tree, folder: str) -> bool:
    """True if there is neither a file nor a folder in it, beside what systems leave behind."""
    return all(is_junk(name) for names in container.children(folder) for name in names)


def _class_images(container: Tree, root: str, folder: str, tally: Tally) -> list[str]:
    """Images in a class's folder and below it, relative to it."""
    own = Tally()
    found: list[str] = []
    waiting = [""]
    while waiting:
        below = waiting.pop()
        path = f"{root}{folder}/{below}".rstrip("/")
        if container.is_link_loop(path):
            raise link_loop(f"{container.given}/{path}")
        folders, files = container.children(path)
        names = select_images(container, f"{path}/", files, own, len(root))
        found += [below + name for name in names]
        waiting += [f"{below}{name}/" for name in folders if not is_junk(name)]
        tally_hidden(container, path, f"{folder}/{below}", f"{folder}/", own)
    if not found:
        seen = ", ".join(f"{each.kind} ({each.count:,})" for each in own.most_common(3))
        raise BadInput(
            f"{container.given} has no images in {printable(folder)!r}"
            f"{', only ' if seen else ''}{seen}; expected some .png or .jpg: fill or remove the folder"
        )
    inner = {name.partition("/")[0] for name in found if "/" in name}
    if len(inner) > 1 and all("/" in name for name in found):
        raise BadInput(
            f"{container.given} has no images in {printable(folder)} but in folders of it:"
            f" {first_of(sorted(inner))}; expected {LAYOUT}: move these folders up if they are classes, else"
            " their images"
        )
    tally.merge(own)
    return found


def select_images(
    container: Tree, folder: str, files: list[str], tally: Tally, skip: int = 0
) -> list[str]:
    """Return the files of a folder that are images, by suffix or first bytes; count the others in `tally`.

    Raw photos are left out where a readable copy is beside them, as cameras write it.

    Args:
        folder: with a slash at its end; "" is the top. skip: letters of it that examples leave out.
    """
    found = []
    for name in sorted(files):
        if looks_like_image(name):
            found.append(name)
        elif not is_junk(name):
            kind = container.kind(folder + name)
            if kind and kind.picture:
                found.append(name)
            else:
                _, dot, ending = name.rpartition(".")
                what = f".{ending.lower()}" if dot else "*"
                tally.add("no_image", what, (folder + name)[skip:])
    read = {name.rpartition(".")[0] for name in found if is_image(name)}
    return [
        name
        for name in found
        if is_image(name) or not looks_like_image(name) or name.rpartition(".")[0] not in read
    ]


def tally_hidden(container: Tree, path: str, shown: str, kind: str | None, tally: Tally) -> None:
    """Count a folder's hidden images, and files such as .DS_Store and Thumbs.db, in `tally`.

    Args:
        shown: how examples call the folder, with a slash at its end. kind: of the images; None for each
            hidden file's or folder's own name.
    """
    folder = path.rstrip("/")
    for name, count in container.hidden_images(folder).items():
        tally.add("hidden", kind or shown + name, shown + name, count)
    for name in container.junk(folder):
        tally.add("junk", junk_kind(name), shown + name)


def tally_outside(container: Tree, root: str, used: Sequence[str], tally: Tally) -> None:
    """Count the images beside the folders of splits that are used, and beside the root.

    Args:
        used: names of folders in the root. All of them are, where classes are folders of it: [].
    """
    levels = [root[:at] for at in range(len(root) + 1) if at == 0 or root[at - 1] == "/"]
    for level in levels:
        folders, files = container.children(level.rstrip("/"))
        if level == root and not used:
            continue
        for name in filter(looks_like_image, files):
            tally.add("beside", level or "/", level + name)
        tally_hidden(container, level, level, None, tally)
        for name in sorted(folders):
            if is_junk(name) or (
                name in used if level == root else root.startswith(f"{level}{name}/")
            ):
                continue
            images = list(images_below(container, level + name))
            if images:
                reason: Reason = "validation" if is_validation(name) else "beside"
                tally.add(reason, f"{level}{name}/", min(images), len(images))


def images_below(container: Tree, folder: str) -> Iterator[str]:
    """Paths of the files in a folder and below it that are named like images."""
    waiting = [folder]
    while waiting:
        path = waiting.pop()
        if container.is_link_loop(path):
            continue
        folders, files = container.children(path)
        waiting += [f"{path}/{name}" for name in folders if not is_junk(name)]
        yield from (f"{path}/{name}" for name in filter(looks_like_image, files))


def check_same_classes(given: str, train: Classes, test: Classes) -> None:
    """Raise `BadInput` for classes that are in one split only."""
    for a, some, b, others in (("test", test, "train", train), ("train", train, "test", test)):
        if extra := [label for label in some if label not in others]:
            close = difflib.get_close_matches(extra[0], others, n=1)
            known = f"{b} has {first_of(sorted(others))}"
            mend = f"did you mean {printable(close[0])}?" if close else known
            raise BadInput(
                f"{given} has classes in {a} that {b} lacks: {first_of(sorted(extra))}; expected the same in"
                f" both: {mend}"
            )
