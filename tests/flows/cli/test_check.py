"""`relevo check`: a folder with known defects, the labels of a trained data set, and its page and table."""

from __future__ import annotations

import csv
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageFilter
from support.command import Chain, Outcome, Relevo, in_one_process
from support.images import encoded, write_folder
from support.pages import Reader, plain
from support.pictures import sharp_photo

SIZE = 64
FINDINGS = {
    "suspicious label": set[str](),
    "duplicate": {"train/cat/0.png", "train/dog/copy.png", "train/cat/1.png", "test/cat/again.png"},
    "near duplicate": {"train/dog/0.png", "train/dog/small.jpg"},
    "damaged": {"train/cat/torn.jpg", "train/dog/empty.png"},
    "odd": set(),
    "blank": {"train/cat/blank.png"},
    "dark": {"train/cat/dark.png"},
    "blurred": {"train/dog/blurred.jpg"},
    "small": {"train/dog/tiny.png"},
    "long": {"train/cat/long.png"},
}


def photos() -> dict[str, bytes]:
    """Two classes, some of whose pictures have a defect, and one of few pictures."""
    counts = {"train/cat": 30, "train/dog": 30, "train/owl": 3}
    counts |= {"test/cat": 5, "test/dog": 5, "test/owl": 2}
    pictures = {
        f"{where}/{i}.png": encoded(sharp_photo(1000 * n + i), "PNG")
        for n, (where, count) in enumerate(counts.items())
        for i in range(count)
    }
    good, other = sharp_photo(7), sharp_photo(8)
    return pictures | {
        "train/dog/copy.png": pictures["train/cat/0.png"],
        "test/cat/again.png": pictures["train/cat/1.png"],
        "train/dog/small.jpg": encoded(sharp_photo(1000).resize((70, 70)), "JPEG", quality=85),
        "train/cat/torn.jpg": encoded(good, "JPEG")[:300],
        "train/dog/empty.png": b"",
        "train/cat/blank.png": encoded(Image.new("RGB", (80, 80), "olive"), "PNG"),
        "train/cat/dark.png": encoded(good.point(lambda value: value // 8), "PNG"),
        "train/dog/blurred.jpg": encoded(other.filter(ImageFilter.GaussianBlur(5)), "JPEG"),
        "train/dog/tiny.png": encoded(sharp_photo(9, (30, 30)), "PNG"),
        "train/cat/long.png": encoded(sharp_photo(10, (300, 96)), "PNG"),
    }


BAD: dict[str, tuple[list[str], str]] = {
    "nothing": ([], "--recipe"),
    "no recipe": (["nowhere"], "recipe 'nowhere'"),
    "no archive": (["nowhere.zip"], "isn't there"),
    "no data": (["photos", "--data", "nowhere"], "isn't there"),
    "no page": (["digits", "--output", "check.pdf"], "ends in .html"),
    "no folder": (["digits", "--output", "no/such/folder/check.html"], "folder that is there"),
    "a file": (["digits", "--output", "FOLDER/there.html"], "--force overwrites it"),
    "a setting": (["digits", "--set", "data.image_size=0"], "image_size"),
    "a language": (["digits", "--lang", "fr"], "--lang"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("check")


@pytest.fixture(scope="module")
def done(folder: Path, prefect_home: Path, server: str) -> dict[str, Outcome]:
    """What commands answer, all run in one process."""
    torn = {f"train/cat/torn {i}.png": b"x" for i in range(9)}
    small = [f"--set=data.image_size={SIZE}", "--store", str(folder / "store")]
    check = ["check", str(write_folder(folder / "photos", photos())), *small]
    worse = ["check", str(write_folder(folder / "worse", {**photos(), **torn})), *small]
    (folder / "there.csv").write_text("an earlier one")
    bad = {case: [word.replace("FOLDER", str(folder)) for word in BAD[case][0]] for case in BAD}
    commands = {
        "first": [*check, "--output", str(folder / "check.html"), "--json"],
        "again": check,
        "worse": [*worse, "--json"],
        **{case: ["check", *words] for case, words in bad.items()},
    }
    return in_one_process(commands, folder, prefect_home, PREFECT_API_URL=server)


@pytest.fixture(scope="module")
def checked(done: dict[str, Outcome]) -> Outcome:
    return done["first"]


def named(found: dict[str, Any], kind: str) -> set[str]:
    return {each["file"] for each in found["findings"] if each["kind"] == kind}


@pytest.mark.parametrize("kind", FINDINGS)
def test_known_defects_are_found_and_no_others(kind: str, checked: Outcome) -> None:
    found = checked.json
    assert named(found, kind) == FINDINGS[kind]
    assert found["counts"][kind] == len(FINDINGS[kind])
    assert found["few"] == {"owl": 2}
    assert found["judged"] == 0
    assert found["refused"] == ""


def test_copies_with_two_labels_come_before_those_in_two_splits(checked: Outcome) -> None:
    copies = [each for each in checked.json["findings"] if each["kind"] == "duplicate"]
    assert [each["group"] for each in copies] == [1, 1, 2, 2]
    assert {each["label"] for each in copies[:2]} == {"cat", "dog"}
    assert {each["split"] for each in copies[2:]} & {"test"}


def test_page_and_table_have_each_finding_with_its_file(checked: Outcome, folder: Path) -> None:
    found, table = checked.json, folder / "check.csv"
    assert found["page"] == str(folder / "check.html")
    assert found["table"] == str(table)
    with table.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["finding"], row["file"]) for row in rows] == [
        (each["kind"], each["file"]) for each in found["findings"]
    ]
    html = Path(found["page"]).read_text("utf-8")
    assert not re.search(r"https?:|@import|url\(|<script|<link", html)
    reader, text = Reader(html), plain(html)
    pictures = [each for each in found["findings"] if each["kind"] != "damaged"]
    assert len(reader.of("img")) == len(pictures)
    assert all(str(image["src"]).startswith("data:image/") for image in reader.of("img"))
    for each in found["findings"]:
        assert each["file"] in text
    assert "Different labels: cat, dog." in text
    assert "In more than one split." in text
    assert "owl: 2 training pictures, where the largest class has" in text
    assert "Labels are judged after a training" in text


def test_a_second_check_is_cached_and_its_table_says_the_same(
    done: dict[str, Outcome], folder: Path
) -> None:
    again = done["again"]
    assert again.status == 0, again.err
    for task in ("prepare data", "check images", "check files"):
        assert re.search(f"^{task}: +cached$", again.err, re.M)
    page = re.search(r"^page: (.*)$", again.out, re.M)
    assert page
    assert Path(page[1]).parent == folder / "store/pages"
    assert Path(page[1]).with_suffix(".csv").read_bytes() == (folder / "check.csv").read_bytes()
    assert re.search(r"^near duplicate +2$", again.out, re.M)
    assert "few training images: owl 2" in again.out
    assert "labels: judged once a run has trained on this data in this store" in again.out


def test_too_many_damaged_files_are_shown_where_a_run_would_stop(done: dict[str, Outcome]) -> None:
    found = done["worse"].json
    assert found["counts"]["damaged"] == 11
    assert "can't be decoded" in found["refused"]
    assert "A run would stop here: " in Path(found["page"]).read_text("utf-8")


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_status_2(
    case: str, done: dict[str, Outcome], folder: Path
) -> None:
    outcome = done[case]
    assert outcome.status == 2, outcome.err
    assert outcome.out == ""
    assert len(outcome.err.splitlines()) == 1
    assert BAD[case][1] in outcome.err
    assert not (folder / case / "store").exists()


def test_labels_are_judged_by_a_run_that_trained_on_the_data(
    chain: Chain, relevo: Relevo, server: str, tmp_path: Path
) -> None:
    store = shutil.copytree(chain.store, tmp_path / "store")
    words = ["check", "digits", "--store", str(store), "--lang", "es", "--json"]
    found = relevo(*words, env={"PREFECT_API_URL": server}).json
    assert found["basis"] == "held out"
    assert found["judge"] == "ten_class_from_transfer"
    assert 360 < found["judged"] < 700, "validation and test"
    assert {each["split"] for each in found["findings"] if each["kind"] == "suspicious label"} <= {
        "validation",
        "test",
    }
    assert "revisión de las imágenes" in Path(found["page"]).read_text("utf-8")
