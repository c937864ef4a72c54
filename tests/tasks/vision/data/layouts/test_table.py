"""Tables of pictures: CSV as Excel and others write it, and JSON Lines, beside the pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from support.datasets import open_in_folder, prepare_in_folder
from support.images import labelled_pngs, png, read, refused, same, write_any, write_folder

from tasks.vision.data.layouts.find_layout import find_layout
from tasks.vision.data.layouts.layout import LabelledFile, Layout
from tasks.vision.data.layouts.table import read_table
from tasks.vision.data.sources import find_source, fingerprint
from tasks.vision.files.containers import open_container

FILES = {f"pictures/{i}.png": png(i) for i in range(12)}
LABELS = ["chat", "été"] * 6
ROWS: list[tuple[str, ...]] = [("file", "label"), *zip(FILES, LABELS, strict=True)]


def text(rows: Sequence[tuple[str, ...]], delimiter: str = ",") -> str:
    return "\r\n".join(delimiter.join(row) for row in rows) + "\r\n"


JSON_LINES = "\n".join(json.dumps({"label": b, "file": a, "more": [1]}) for a, b in ROWS[1:])
TABLES: dict[str, tuple[str, bytes]] = {
    "CSV": ("labels.csv", text(ROWS).encode()),
    "UTF-8 with a mark": ("labels.csv", text(ROWS, ";").encode("utf-8-sig")),
    "Excel's Windows": ("labels.csv", text(ROWS, ";").encode("cp1252")),
    "Excel's Unicode": ("labels.tsv", text(ROWS, "\t").encode("utf-16")),
    "JSON Lines": ("labels.jsonl", JSON_LINES.encode()),
    "other columns": ("x.csv", text([("n", "Class", "FileName")]).encode()[:-2] + b"\r\n" + text(
        [("0", label, file) for file, label in ROWS[1:]]
    ).encode()),
    "backslashes": ("x.csv", text([ROWS[0], *((a.replace("/", "\\"), b) for a, b in ROWS[1:])]).encode()),
    "quotes and blanks": (
        "x.csv",
        text([ROWS[0], *((f'"./{a} "', f" {b}") for a, b in ROWS[1:]), ("", "")]).encode(),
    ),
}  # fmt: skip


def layout_of(path: Path) -> Layout:
    return find_layout(open_container(path))


@pytest.mark.parametrize("form", ["set", "set.zip", "set.tar.gz"])
@pytest.mark.parametrize("kind", TABLES)
def test_table_says_what_pictures_are(kind: str, form: str, tmp_path: Path) -> None:
    name, content = TABLES[kind]
    beside = {"my/other.csv": b"a,b\n1,2\n", "my/pictures/more.png": png(99), "my/.DS_Store": b"."}
    files = {f"my/{file}": data for file, data in FILES.items()}
    path = write_any(tmp_path / form, {**files, f"my/{name}": content, **beside})
    found = layout_of(path)
    assert found.described() == f"the table {name} in my/ with 2 classes"
    assert found.files == sorted(
        (LabelledFile(row[0], row[1]) for row in ROWS[1:]),
        key=lambda row: (row.label, row.path),
    )
    assert [str(each) for each in found.left_out] == [
        f"images that the table does not name: {name} (1), such as my/pictures/more.png"
    ]
    assert [each.kind for each in found.junk] == [".DS_Store"]
    assert read(path).splits["train"].labels.tolist() == [0] * 6 + [1] * 6


def test_table_by_its_path_wins_and_reads_as_in_its_folder(tmp_path: Path) -> None:
    path = write_folder(tmp_path / "set", {**FILES, "a.csv": text(ROWS).encode()})
    assert same(read(path / "a.csv"), read(path))
    (path / "b.csv").write_text(text([ROWS[0], *((a, "x") for a, _ in ROWS[1:])]))
    refused(lambda: read(path), "holds several tables: a.csv, b.csv; expected one")
    assert read(path / "b.csv").classes == ["x"]


def test_folders_of_splits_win_over_a_table_beside_them(tmp_path: Path) -> None:
    files = labelled_pngs(["train/", "test/"], ["a", "b"], 2)
    path = write_folder(tmp_path / "set", {**files, "x.csv": b"file,label\n"})
    assert layout_of(path).place.kind == "split folders"


def test_key_follows_what_a_table_says(tmp_path: Path) -> None:
    path = write_folder(tmp_path / "set", {**FILES, "x.csv": text(ROWS).encode()})
    digests = {fingerprint(find_source(str(path)))}
    (path / "x.csv").write_text(text([ROWS[0], *reversed(ROWS[1:])]), "utf-8")
    assert {fingerprint(find_source(str(path)))} == digests, "the order of rows does not count"
    for column, value in (("label", "other"), ("group", "g"), ("split", "train")):
        rows = [(*row, value if number else column) for number, row in enumerate(ROWS)]
        if column == "label":
            rows = [rows[0][:2], (rows[1][0], value), *(row[:2] for row in rows[2:])]
        (path / "x.csv").write_text(text(rows), "utf-8")
        digests.add(fingerprint(find_source(str(path))))
    assert len(digests) == 4


SPLIT: list[tuple[str, ...]] = [("file", "label", "split", "group")]


def test_splits_and_groups_of_a_table_are_used(tmp_path: Path) -> None:
    splits = ["train", "Val", "TEST"]
    rows: list[tuple[str, ...]] = [
        (f, b, splits[n // 4], f"g{n // 4}") for n, (f, b) in enumerate(ROWS[1:])
    ]
    path = write_folder(tmp_path / "set", {**FILES, "x.csv": text(SPLIT + rows).encode()})
    about = prepare_in_folder(read(path), 8, 0.1, tmp_path / "out")
    assert about.counts == {"train": [2, 2], "validation": [2, 2], "test": [2, 2]}
    assert (about.validation, about.made) == ("x.csv", None)
    data = open_in_folder(tmp_path / "out")
    assert data.names("test") == [f"pictures/{n}.png" for n in (10, 8, 11, 9)]
    alone = read(path, splits=("valid",)).splits["valid"].names
    assert sorted(alone) == sorted([*FILES][4:8])


def test_groups_of_a_table_stay_together_where_validation_alone_is_made(tmp_path: Path) -> None:
    files = {f"{i:02}.png": png(i) for i in range(60)}
    rows: list[tuple[str, ...]] = [
        (name, "ab"[i % 2], "test" if i < 20 else "train", f"g{i // 4}")
        for i, name in enumerate(files)
    ]
    path = write_folder(tmp_path / "set", {**files, "x.csv": text(SPLIT + rows).encode()})
    about = prepare_in_folder(read(path), 8, 0.3, tmp_path / "out")
    data = open_in_folder(tmp_path / "out")
    held_out = {int(data.names("train")[row][:2]) // 4 for row in data.rows("validation")}
    trained = {int(data.names("train")[row][:2]) // 4 for row in data.rows("train")}
    assert held_out
    assert not held_out & trained
    assert about.made
    assert (about.made.test, about.made.validation, about.made.groups) == (None, 0.3, 10)


@pytest.mark.parametrize(
    ("split", "scored"), [("test", ""), ("val", "validation"), (None, "x.csv")]
)
def test_a_table_can_be_scored(split: str | None, scored: str, tmp_path: Path) -> None:
    rows = ROWS
    if split:
        rows = [(*row, split if n else "split") for n, row in enumerate(rows)]
    path = write_folder(tmp_path / "set", {**FILES, "x.csv": text(rows).encode()})
    found = read(path, splits=("test",), instead=True)
    assert (len(found.splits["test"].names), found.instead) == (12, scored)


REFUSED: dict[str, tuple[list[tuple[str, ...]], str]] = {
    "an absolute path": (
        [("/etc/x.png", "a")],
        "line 2: file /etc/x.png; expected a path below the",
    ),
    "a drive": ([("C:\\x.png", "a")], "line 2: file C:\\x.png; expected a path below"),
    "an address": ([("s3://b/x.png", "a")], "line 2: file s3://b/x.png; expected a path below"),
    "a way out": ([("a/../../x.png", "a")], "line 2: file a/../../x.png; expected a path below"),
    "a missing file": (
        [("1.png", "a"), ("no.png", "a"), ("nor.png", "a")],
        "x.csv: files that are not there: 2: no.png, nor.png; expected paths relative to the table",
    ),
    "no file": ([("", "a")], "line 2: no file; expected a path"),
    "an empty label": ([("1.png", " ")], "line 2: an empty label; expected the name of a class"),
    "an unknown split": (
        [("1.png", "a", "holdout", "")],
        "line 2: split holdout; expected one of train, training, val, valid",
    ),
    "a file twice": (
        [("1.png", "a"), ("2.png", "b"), ("./1.png", "a")],
        "line 4: 1.png again, as in line 2; expected each file once",
    ),
    "a group on two sides": (
        [("1.png", "a", "train", "g"), ("2.png", "b", "test", "g")],
        "line 3: group g is in test, and in line 2 in train; expected one split for each group",
    ),
    "splits of some": (
        [("1.png", "a", "train", ""), ("2.png", "b", "", "")],
        "line 3: no split, unlike the lines before; expected a split in each line, or in none",
    ),
    "no rows": ([], "x.csv has no rows; expected the columns file and label"),
    "a short row": (
        [("1.png",)],
        "can't be read as a table (line 2 has 1 columns, and the first line 2)",
    ),
    "no row to train on": ([("1.png", "a", "test", "")], "has no row of split train in x.csv"),
    "a class in test alone": (
        [("1.png", "a", "train", ""), ("2.png", "b", "test", "")],
        "classes in test that train lacks: b",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_faulty_table_is_refused_in_one_line(case: str, tmp_path: Path) -> None:
    rows, expected = REFUSED[case]
    header = SPLIT if rows and len(rows[0]) == 4 else ROWS[:1]
    files = {"1.png": png(1), "2.png": png(2), "x.csv": text(header + rows).encode()}
    refused(lambda: read(write_folder(tmp_path / "set", files) / "x.csv"), str(tmp_path), expected)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("x.csv", b'file,label\n"1.png,a\n', "can't be read as a table"),
        ("x.csv", b"file,label\n" + b"a" * 200_000 + b",b\n", "field larger than field limit"),
        ("x.csv", b"name,kind\n1.png,a\n", "line 2: no column file; expected the columns file"),
        ("x.csv", b"\0" * 100, "has no rows"),
        ("x.jsonl", b'{"file": "1.png", "label": "a"}\n{"file"', "line 2 is not JSON"),
        ("x.jsonl", b"[1]\n", "line 1 is no object in braces"),
        ("x.jsonl", b"[" * 100_000, "can't be read as a table"),
        ("x.jsonl", b'{"file": ["1.png"], "label": "a"}', "line 1: file is no text"),
    ],
)
def test_content_that_is_no_table_is_refused_in_one_line(
    name: str, content: bytes, expected: str
) -> None:
    refused(lambda: read_table(f"set/{name}", name, content), f"set/{name}", expected)
