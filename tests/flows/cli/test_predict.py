"""`relevo predict`: a row for each image in files, folders and archives; unreadable files are reported."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.cards import small_model
from support.command import Chain, Relevo
from support.images import encoded, png, write_folder, write_zip

from tasks.io.load import load_evaluation
from tasks.runs.summary import read_lineage
from tasks.store.opening import open_store
from tasks.vision.data.sources import find_source, read_source
from tasks.vision.device import find_device
from tasks.vision.trained_model import pack


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """Twenty test scans as PNG beside two other files, and the classes of the scans."""
    found = read_source(find_source("digits"), 32, splits=("test",))
    split = found.splits["test"]
    files, truth = {}, {}
    for row in range(20):
        name = f"{'deep/er/' if row % 2 else ''}scan {row:02d}.png"
        files[name] = encoded(Image.fromarray(split.images[row]), "PNG")
        truth[name] = found.classes[int(split.labels[row])]
    files |= {"broken.png": b"no picture", "notes.txt": b"passed over"}
    return write_folder(tmp_path_factory.mktemp("scans") / "scans", files), truth


def scored(chain: Chain, stage: str) -> tuple[list[str], np.ndarray]:
    """A stage's labels, and the probabilities (image, label) of the test split from its own run."""
    store = open_store(chain.store)
    lineage = read_lineage(store, chain.second.json["run"])
    scores, answers = load_evaluation(lineage.evaluations[stage], store)
    assert answers.positions.tolist() == list(range(len(answers.positions)))
    return scores.labels, answers.probabilities


def test_predict_writes_table_of_folder(
    chain: Chain, relevo: Relevo, scans: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    folder, truth = scans
    table = tmp_path / "seen.csv"
    table.write_text("an earlier one")
    words = ["predict", "latest/ten_class", str(folder), "--store", str(chain.store)]
    done = relevo(*words, "--csv", str(table), "--force", "--json")
    seen = {str(Path(row["file"]).relative_to(folder)): row for row in done.json["predictions"]}
    assert set(seen) == set(truth)
    labels, expected = scored(chain, "ten_class")
    # The run evaluates in the machine's native precision, e.g. bfloat16; predict always in float32.
    near = 1e-3 if find_device().policy == "float32" else 0.05
    for name in truth:
        row = expected[int(Path(name).stem.removeprefix("scan "))]
        given = list(seen[name]["probabilities"].values())
        assert given == pytest.approx(list(row), abs=near), name
        if near < 0.01:
            assert seen[name]["label"] == labels[row.argmax()]
        else:
            assert row[labels.index(seen[name]["label"])] > row.max() - 2 * near
    assert all(
        sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-4) for row in seen.values()
    )
    assert len(done.json["unreadable"]) == 1
    assert "broken.png" in done.json["unreadable"][0]
    assert done.err.splitlines() == [
        f"left out {done.json['unreadable'][0]}",
        "left out files that are no images: .txt (1), such as notes.txt",
    ]
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == [row["file"] for row in done.json["predictions"]]
    assert list(rows[0]) == ["file", "label", *done.json["labels"]]


def test_predict_refuses_folder_without_readable_image(
    chain: Chain, relevo: Relevo, tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / "pictures", {"broken.png": b"x"})
    words = ["predict", "latest/ten_class", str(folder), "--store", str(chain.store)]
    done = relevo(*words, "--csv", str(tmp_path / "seen.csv"))
    assert done.status == 2
    assert "none of 1 files could be read as an image" in done.err
    assert not (tmp_path / "seen.csv").exists()


def _colour(path: Path) -> np.ndarray:
    """How far from grey each place is in the map beside an image, (32, 32), of 0 to 255."""
    with Image.open(path) as picture:
        shown = picture.crop((228, 0, 452, 224)).resize((32, 32))
        return np.ptp(np.asarray(shown.convert("RGB"), float), axis=2)


def test_predict_agrees_for_archive_folder_and_file(
    chain: Chain, relevo: Relevo, scans: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    folder, truth = scans
    files = {name: (folder / name).read_bytes() for name in truth}
    archive = write_zip(tmp_path / "scans.zip", files)
    model = str(chain.store / "runs" / chain.first.json["run"] / "models/transfer")
    one = "deep/er/scan 19.png"  # the last: files come before folders
    words = ["predict", model, str(folder), str(archive), str(folder / one)]
    done = relevo(*words, "--unless", ".9", "--json").json
    rows = [row["probabilities"] for row in done["predictions"]]
    best = [max(row, key=row.__getitem__) for row in rows]
    sure = [row[label] >= 0.9 for row, label in zip(rows, best, strict=True)]
    assert 0 < sum(sure) < len(rows)
    answers = [label if is_sure else "unsure" for label, is_sure in zip(best, sure, strict=True)]
    assert [row["label"] for row in done["predictions"]] == answers
    n = len(truth)
    assert len(rows) == 2 * n + 1
    for a, b in ((rows[0], rows[n]), (rows[n - 1], rows[2 * n - 1]), (rows[n - 1], rows[-1])):
        assert np.allclose(list(a.values()), list(b.values()), atol=1e-5)


def test_predict_names_what_it_leaves_out_in_one_line(relevo: Relevo, tmp_path: Path) -> None:
    card, tensors = small_model()
    write_folder(tmp_path / "model", {"model.safetensors": pack(card, tensors)})
    others = {f"{name}.{name}": b"text" for name in ("a", "b", "c", "d", "e", "f")}
    folder = write_folder(tmp_path / "pictures", {"a.png": png(1), "a2.a": b"text", **others})
    done = relevo("predict", str(tmp_path / "model"), str(folder), "--json")
    assert done.err.splitlines() == [
        "left out files that are no images: .a (2), such as a.a; "
        + "; ".join(f"files that are no images: .{x} (1), such as {x}.{x}" for x in "bcde")
        + "; and 1 more"
    ]
    assert len(done.json["left_out"]) == 6
    assert (len(done.json["predictions"]), done.json["unreadable"]) == (1, [])


def test_predict_draws_grid(
    chain: Chain, relevo: Relevo, scans: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    path = tmp_path / "seen.png"
    words = ["predict", "latest/transfer", str(scans[0]), "--store", str(chain.store)]
    maps = tmp_path / "maps"
    assert relevo(*words, "--grid", str(path), "--maps", str(maps)).status == 0
    assert len(list(maps.glob("000?? *.png"))) == len(scans[1])
    where = np.mean([_colour(each) for each in maps.iterdir()], axis=0)
    assert where[8:-8, 8:-8].mean() > 1.2 * where.mean(), "digits are in the middle"
    with Image.open(path) as image:
        assert image.format == "PNG"
        shades = np.asarray(image.convert("RGB")).astype(int)
    assert len(np.unique(shades.reshape(-1, 3), axis=0)) > 50
    # The truth is unknown: no green ticks, no red crosses.
    assert np.ptp(shades, axis=2).max() < 60


def test_predict_overwrites_no_image(relevo: Relevo, tmp_path: Path) -> None:
    """Output files are checked before the store, which holds no run here."""
    write_folder(tmp_path, {"a.png": b"mine", "seen.csv": b"an earlier one"})
    words = ["predict", "latest/ten_class", ".", "--store", str(tmp_path / "none"), "--force"]
    refused = relevo(*words, "--grid", "a.png", cwd=tmp_path)
    assert "--grid a.png is one of the images in .; name another file" in refused.err
    assert "no runs yet" in relevo(*words, "--csv", "seen.csv", cwd=tmp_path).err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["latest/ten_class", "nowhere"], "isn't there"),
        (["latest/ten_clas", "{scans}"], "did you mean 'ten_class'?"),
        (["latest/ten_class", "{empty}"], "holds no image"),
        (["latest/ten_class", "{scans}", "--csv", "no/such/folder/x.csv"], "is no folder"),
        (["latest/ten_class", "{scans}", "--grid", "no/such/folder/x.png"], "is no folder"),
        (["latest/ten_class", "{scans}", "--grid", "seen.jpg"], "ends in .png"),
        (["latest/ten_class"], "IMAGES"),
        (["latest/ten_class", "{scans}", "--unless", "1"], "--unless"),
        (["latest/ten_class", "{scans}", "--maps", "{scans}"], "expected a new name or an empty"),
    ],
)
def test_predict_refuses_bad_input_in_one_line(
    words: list[str],
    expected: str,
    chain: Chain,
    relevo: Relevo,
    scans: tuple[Path, dict[str, str]],
    tmp_path: Path,
) -> None:
    places = {"scans": str(scans[0]), "empty": str(tmp_path)}
    words = [word.format(**places) for word in words]
    done = relevo("predict", *words, "--store", str(chain.store))
    assert done.status == 2, done.err
    assert done.out == ""
    assert len(done.err.splitlines()) == 1
    assert expected in done.err


def test_predict_flow_writes_table_to_store(
    chain: Chain, scans: tuple[Path, dict[str, str]], server: str, tmp_path: Path
) -> None:
    from flows.predict import predict

    store = shutil.copytree(chain.store, tmp_path / "store")
    done = predict(str(scans[0]), "latest/ten_class", str(store), unless=0.999)
    assert sum(done["counts"].values()) == 20
    assert done["counts"]["unsure"] > 0
    table = Path(done["table"])
    assert table.parent == store / "predictions"
    assert len(table.read_text().splitlines()) == 21
    with Image.open(done["grid"]) as grid:
        assert grid.width > 500
    assert json.dumps(done["unreadable"]).count("broken.png") == 1
