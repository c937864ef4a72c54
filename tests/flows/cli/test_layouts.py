"""Pictures as people have them, from `new-recipe` to `evaluate`, without renaming a file."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.command import Relevo
from support.images import labelled_pngs, write_any

LAYOUTS = {
    "class folders": [""],
    "train and val": ["own/train/", "own/val/"],
    "train alone": ["a/b/Train/"],
    "a table": ["pictures/"],
}


def pictures(layout: str) -> dict[str, bytes]:
    files = labelled_pngs(LAYOUTS[layout], ["cat", "dog"], 12)
    if layout == "a table":
        rows = [f"{name};{name.split('/')[1]};film {n // 2}" for n, name in enumerate(files)]
        files["labels.csv"] = "\r\n".join(["file;label;group", *rows]).encode("utf-16")
    return files


@pytest.mark.parametrize("form", ["photos", "photos.zip"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_has_a_recipe_and_a_plan(
    layout: str, form: str, relevo: Relevo, tmp_path: Path
) -> None:
    write_any(tmp_path / form, pictures(layout))
    made = relevo("new-recipe", form, "--start=none", cwd=tmp_path)
    assert made.status == 0, made.err
    assert "no test images: about 20 % of each class are set aside for test by content" in made.out
    assert ("the 24 of val are the validation images" in made.out) == (layout == "train and val")
    assert ("each of 12 groups stays in one split" in made.out) == (layout == "a table")
    planned = relevo("plan", "photos.toml", "--store", "s", cwd=tmp_path)
    assert planned.status == 0, planned.err


@pytest.mark.parametrize(
    ("layout", "form"),
    [
        ("a table", "photos.tar"),
        pytest.param("class folders", "photos", marks=pytest.mark.slow),
        pytest.param("train and val", "photos.zip", marks=pytest.mark.slow),
    ],
)
def test_each_layout_is_trained_from_and_scored(
    layout: str, form: str, relevo: Relevo, server: str, tmp_path: Path
) -> None:
    write_any(tmp_path / form, pictures(layout))
    env = {"PREFECT_API_URL": server, "RELEVO_STORE": str(tmp_path / "store")}
    assert relevo("new-recipe", form, "--start=none", cwd=tmp_path).status == 0
    small = ["--set=defaults.epochs=1", "--set=defaults.network.widths=[8, 8]"]
    done = relevo("run", "photos.toml", "--json", *small, cwd=tmp_path, env=env)
    assert done.status == 0, done.err
    assert "no test images: about 20 % of each class are set aside for test by content" in done.err
    page = Path(done.json["report"]).read_text("utf-8")
    assert "of each class were set aside for test by the content of each image" in page
    assert (
        relevo("run", "photos.toml", "--json", *small, cwd=tmp_path, env=env).json["stages"][
            "all_classes"
        ]["state"]
        == "cached"
    )
    scored = relevo(
        "evaluate", "latest/all_classes", "--data", form, "--json", cwd=tmp_path, env=env
    )
    assert scored.json["scored"] == {"train and val": "val", "a table": "labels.csv"}.get(
        layout, "."
    )
    # All but those that were set aside for test were trained on, or chosen by.
    tested = done.json["stages"]["all_classes"]["metrics"]["images"]
    new = 0 if layout == "train and val" else tested
    assert scored.json["seen"] == scored.json["metrics"]["images"] - new
    assert f"{scored.json['seen']} of the images are among those" in scored.err
