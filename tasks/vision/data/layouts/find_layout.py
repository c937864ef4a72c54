"""Find how a data set is laid out, and list its pictures: folders of splits, folders of classes, or a table."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.vision.data.layouts.image_folder import (
    Classes,
    check_same_classes,
    classes_in_folder,
    find_classes,
    tally_outside,
)
from tasks.vision.data.layouts.layout import LabelledFile, Layout, Place, stored_order
from tasks.vision.data.layouts.missing_split import missing_split, wrong_folders
from tasks.vision.data.layouts.split_names import SPLITS, SplitName, split_of
from tasks.vision.data.layouts.table_files import listed_in_table, table_in
from tasks.vision.errors import BadInput
from tasks.vision.files.containers import ImageTree
from tasks.vision.files.image_files import looks_like_image
from tasks.vision.files.left_out import Tally, is_junk
from tasks.vision.text import first_of

DEEPEST = 5  # folders down that are searched for those of splits
MOST_FOLDERS = 1000  # on one level that are searched


def find_layout(
    container: ImageTree, splits: Sequence[str] = SPLITS, *, instead: bool = False, table: str = ""
) -> Layout:
    """List the pictures of a data set.

    Args:
        splits: "train" and "test", for training, where a missing one is made later; or one of "train",
            "valid" and "test", which has to be there.
        instead: of "test" alone; take validation images, or those of no split, where it is missing.
        table: the name of the table at the top that lists them; by default it is looked for.

    Raises:
        BadInput: there is nothing of that kind, or something is wrong with it.
    """
    place = Place(table=table) if table else find_place(container)
    tally = Tally()
    if tuple(splits) == SPLITS:
        files = _for_training(container, place, tally)
        found = ""
    else:
        wanted = split_of(splits[0])
        assert wanted
        files, found = _one_split(container, place, wanted, instead, tally)
    if container.cut:
        tally.add("cut", "*", container.given, 0)
    files.sort(key=stored_order)
    return Layout(place, files, tally.most_common(), tally.junk(), found)


def find_place(container: ImageTree) -> Place:
    """Where the pictures are; nothing is listed but the folders above them.

    Folders of splits win over a table, and a table over folders of classes. They may be in a folder of a
    folder, if no other is.

    Raises:
        BadInput: several folders are as good, or what is there can't be a data set.
    """
    if roots := _split_roots(container):
        if len(roots) > 1:
            shown = first_of(root.rstrip("/") for root in roots)
            raise BadInput(
                f"{container.given} holds several data sets: {shown}; expected one: name it"
            )
        return Place(roots[0], _split_folders(container, roots[0]))
    root = _only_folder(container)
    if table := table_in(container, root):
        return Place(root, table=table)
    folders = _folders(container, root)
    if folders and all(split_of(name) for name in folders):  # with images, but no classes
        return Place(root, _split_folders(container, root))
    if error := wrong_folders(container, root):
        raise error
    return Place(root)


def _folders(container: ImageTree, root: str) -> list[str]:
    return sorted(each for each in container.children(root.rstrip("/"))[0] if not is_junk(each))


def _split_roots(container: ImageTree) -> list[str]:
    """The folders that hold a split's folder, on the first level where there are any: "" or "name/"."""
    level = [""]
    for depth in range(DEEPEST):
        below: list[str] = []
        found: list[str] = []
        for root in level:
            folders, files = container.children(root.rstrip("/"))
            if any(split_of(name) and _may_be_split(container, root + name) for name in folders):
                found.append(root)
            # Below a class nothing is a split.
            elif not depth or not any(map(looks_like_image, files)):
                below += [
                    f"{root}{name}/"
                    for name in sorted(folders)
                    if not is_junk(name) and not container.is_link_loop(root + name)
                ]
        if found:
            return found
        level = below[:MOST_FOLDERS]
    return []


def _may_be_split(container: ImageTree, folder: str) -> bool:
    """False for a folder that holds files alone, which is a class: a train is a vehicle, too."""
    if container.is_link_loop(folder):
        return False
    folders, files = container.children(folder)
    return bool(folders) or not files


def _split_folders(container: ImageTree, root: str) -> dict[SplitName, str]:
    """The folder of each split; of several with validation images none, as those of train are held out then."""
    found: dict[SplitName, str] = {}
    for split in ("train", "test", "validation"):
        names = [name for name in _folders(container, root) if split_of(name) == split]
        if len(names) == 1:
            found[split] = names[0]
        elif names and (split != "validation" or not found):
            raise BadInput(
                f"{container.given} holds {first_of(names)}, all of them for {split}; expected one:"
                " move their classes together"
            )
    return found


def _only_folder(container: ImageTree) -> str:
    """The folder that holds class folders or a table: the top, or the only folder in it, and so on."""
    root = ""
    while len(folders := _folders(container, root)) == 1 and not table_in(container, root):
        only = root + folders[0]
        if container.is_link_loop(only) or not _holds_data(container, f"{only}/"):
            break  # a class
        root = f"{only}/"
    return root


def _holds_data(container: ImageTree, root: str) -> bool:
    return bool(_folders(container, root) or table_in(container, root))


def _for_training(container: ImageTree, place: Place, tally: Tally) -> list[LabelledFile]:
    """List train, and validation and test where they are."""
    if place.table:
        return _trained_from_table(container, place, tally)
    if not place.folders:
        files = _listed(container, place, "", None, tally)
        tally_outside(container, place.root, [], tally)
        return files
    if "train" not in place.folders:
        raise missing_split(container, place, ["train"])
    train = find_classes(container, place.root, place.folders["train"], tally)
    files = [LabelledFile(path, label, "train") for label in train for path in train[label]]
    used = [place.folders["train"]]
    if folder := place.folders.get("test"):
        test = find_classes(container, place.root, folder, tally)
        check_same_classes(container.given, train, test)
        files += [LabelledFile(path, label, "test") for label in test for path in test[label]]
        used.append(folder)
    folder = place.folders.get("validation")
    if folder and classes_in_folder(container, place.root + folder) == {*train}:
        files += _listed(container, place, folder, "validation", tally)
        used.append(folder)
    tally_outside(container, place.root, used, tally)
    return files


def _trained_from_table(container: ImageTree, place: Place, tally: Tally) -> list[LabelledFile]:
    files = listed_in_table(container, place, tally)
    classes: dict[str, Classes] = {"train": {}, "test": {}}
    for file in files:
        split = "test" if file.split == "test" else "train"
        classes[split].setdefault(file.label, []).append(file.path)
    if not any(file.split in ("train", None) for file in files):
        raise missing_split(container, place, ["train"])
    if classes["test"]:
        check_same_classes(container.given, classes["train"], classes["test"])
    return files


def _one_split(
    container: ImageTree, place: Place, wanted: SplitName, instead: bool, tally: Tally
) -> tuple[list[LabelledFile], str]:
    """List one split, or what stands in for it, with the name of that."""
    if place.table:
        return _one_of_table(container, place, wanted, instead, tally)
    folder = place.folders.get(wanted)
    if folder is not None:
        return _listed(container, place, folder, wanted, tally), ""
    if instead and wanted == "test":
        if folder := place.folders.get("validation"):
            return _listed(container, place, folder, wanted, tally), folder
        if not place.folders:
            return _listed(container, place, "", wanted, tally), "."
    raise missing_split(container, place, [wanted])


def _one_of_table(
    container: ImageTree, place: Place, wanted: SplitName, instead: bool, tally: Tally
) -> tuple[list[LabelledFile], str]:
    """As `_one_split`, of the rows of a table."""
    rows = listed_in_table(container, place, tally)
    choice: list[tuple[SplitName | None, str]] = [(wanted, "")]
    if instead and wanted == "test":
        choice += [("validation", "validation"), (None, place.table)]
    for split, found in choice:
        if files := [row for row in rows if row.split == split]:
            return files, found
    raise missing_split(container, place, [wanted])


def _listed(
    container: ImageTree, place: Place, folder: str, split: SplitName | None, tally: Tally
) -> list[LabelledFile]:
    classes = find_classes(container, place.root, folder, tally)
    return [LabelledFile(path, label, split) for label in classes for path in classes[label]]
