"""The layout `train/<class>/` and `test/<class>/`: find it, or say what is wrong with it."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tasks.vision.data.missing_split import LAYOUT, SPLITS, VALID, is_validation, missing_split
from tasks.vision.errors import BadInput
from tasks.vision.files.containers import Tree, link_loop
from tasks.vision.files.image_files import is_image, looks_like_image
from tasks.vision.files.left_out import LeftOut, Reason, Tally, is_junk
from tasks.vision.text import first_of, normalized, printable

Classes = dict[str, list[str]]  # class -> paths of its images below the root; both sorted


@dataclass(frozen=True)
class Layout:
    """The images of a data set by split and class, and what it leaves out.

    Attributes:
        root: folder of the container that holds the splits: "" for the top or, one level down, "name/".
        instead: the folder that was found in place of a split, "." for the top.
        validation: the folder beside train and test with validation images; they are among those of train.
    """

    root: str
    splits: dict[str, Classes]
    left_out: list[LeftOut]
    instead: str = ""
    validation: str = ""


def find_layout(container: Tree, splits: Sequence[str], *, instead: bool = False) -> Layout:
    """Find the images of "train", "test" or both, or of "valid"; `BadInput` for another layout.

    Args:
        instead: with "test" alone, take validation images or one folder per class where it is missing.
    """
    tally = Tally()
    if instead and (place := _instead_of(container, splits[0])) is not None:
        classes = find_classes(container, "", place, tally)
        return Layout("", {splits[0]: classes}, tally.most_common(), place or ".")
    root, validation = find_root(container, splits), ""
    beside = [name for name in container.children(root.rstrip("/"))[0] if is_validation(name)]
    if tuple(splits) == (VALID,) and len(beside) == 1:
        return Layout(
            root, {VALID: find_classes(container, root, beside[0], tally)}, tally.most_common()
        )
    found = {split: find_classes(container, root, split, tally) for split in splits}
    if len(found) == len(SPLITS):
        check_same_classes(container.given, found["train"], found["test"])
        if len(beside) == 1 and _classes_in(container, root + beside[0]) == {*found["train"]}:
            validation = beside[0]
            for label, names in find_classes(container, root, validation, tally).items():
                found["train"][label] += names
        _tally_outside(container, root, (*SPLITS, validation), tally)
    if container.cut:
        tally.add("cut", "*", container.given, 0)
    return Layout(root, found, tally.most_common(), validation=validation)


def _instead_of(container: Tree, split: str) -> str | None:
    """The folder to take in place of a missing test split: of validation images, or the top itself."""
    folders, _ = container.children("")
    inner = {each for name in folders for each in container.children(name)[0]}
    if split != "test" or split in folders or split in inner:
        return None
    if near := [name for name in folders if is_validation(name)]:
        return near[0] if len(near) == 1 else None
    return None if set(SPLITS) & {*folders, *inner} else ""


def find_root(container: Tree, splits: Sequence[str]) -> str:
    """Folder that holds the splits: "" for the top or, one level down, "name/"."""

    def holds_splits(names: list[str]) -> bool:
        return any(name in SPLITS or (VALID in splits and is_validation(name)) for name in names)

    folders, _ = container.children("")
    if holds_splits(folders):
        return ""
    inner = [name for name in folders if holds_splits(container.children(name)[0])]
    if len(inner) == 1:
        return f"{inner[0]}/"
    with_classes = [name for name in inner if container.children(f"{name}/train")[0]]
    if not with_classes:  # but perhaps class/train, or images/train beside labels/train
        raise missing_split(container, "", splits)
    raise BadInput(
        f"{container.given} holds several data sets: {first_of(sorted(inner))}; expected one: name it"
    )


def find_classes(container: Tree, root: str, split: str, tally: Tally) -> Classes:
    """Images by class of the folder `split` below the root, at any depth; names in Unicode's form C."""
    if split and split not in container.children(root.rstrip("/"))[0]:
        raise missing_split(container, root, [split])
    top = f"{split}/" if split else ""
    expected = LAYOUT if split in SPLITS else f"{top}<class>/<image>"
    folders, files = container.children((root + top).rstrip("/"))
    if stray := min(select_images(container, root + top, files, Tally()), default=""):
        raise BadInput(
            f"{container.given} has {printable(top + stray)}; expected {expected}: move it there"
        )
    if not folders:
        raise BadInput(
            f"{container.given} has no class folders in {split or 'it'}; expected {expected}"
        )
    for name, count in container.hidden_images((root + top).rstrip("/")).items():
        tally.add("hidden", top + name, top + name, count)
    classes: Classes = {}
    for label in sorted(name for name in folders if not is_junk(name)):
        found = _class_images(container, root, f"{top}{label}", tally)
        classes.setdefault(normalized(label), []).extend(f"{top}{label}/{name}" for name in found)
    return {label: sorted(classes[label]) for label in sorted(classes)}


def _classes_in(container: Tree, folder: str) -> set[str]:
    return {normalized(name) for name in container.children(folder)[0] if not is_junk(name)}


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
        for name, count in container.hidden_images(path).items():
            own.add("hidden", f"{folder}/", f"{folder}/{below}{name}", count)
    if not found:
        seen = ", ".join(f"{each.kind} ({each.count:,})" for each in own.most_common(3))
        raise BadInput(
            f"{container.given} has no images in {printable(folder)}"
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
    """The images among the files of a folder, by their names or their first bytes; tally the others.

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


def _tally_outside(container: Tree, root: str, used: Sequence[str], tally: Tally) -> None:
    """Count the images beside the folders that are used and beside the one that holds them."""
    for level in ("", root) if root else ("",):
        folders, files = container.children(level.rstrip("/"))
        for name in filter(looks_like_image, files):
            tally.add("beside", level or "/", level + name)
        for name, count in container.hidden_images(level.rstrip("/")).items():
            tally.add("hidden", level + name, level + name, count)
        for name in sorted(folders):
            if is_junk(name) or (name in used if level == root else f"{name}/" == root):
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
