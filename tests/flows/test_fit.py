"""data.fit: what is beside a picture's centre square counts, everywhere a model meets a picture, or nowhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.command import Outcome, in_one_process
from support.images import encoded, write_folder

RECIPE = """
[data]
source = "photos"
image_size = 16
[defaults]
network = { widths = [8] }
epochs = 12
controls = false
[stages.kinds]
"""
LATER = '[stages.more]\nstart = "latest/kinds"\ntrain = "head"\n'
COLOURS = {"red": (220, 20, 20), "blue": (20, 20, 220)}


def wide(label: str, seed: int) -> bytes:
    """A picture of 48 x 16 pixels whose centre square is grey noise; its class shows on both sides of it."""
    noise = np.random.default_rng(seed).integers(90, 160, (16, 48, 1)).repeat(3, 2)
    noise[:, :14] = noise[:, -14:] = COLOURS[label]
    return encoded(Image.fromarray(noise.astype(np.uint8)), "PNG")


@pytest.fixture(scope="module")
def outcomes(prefect_home: Path, server: str, tmp_path_factory: Any) -> dict[str, Outcome]:
    """Outcomes of commands: a model trained on padded pictures, and what is done with it then."""
    tmp = tmp_path_factory.mktemp("fit")
    files = {
        f"{split}/{label}/{index}.png": wide(label, 1000 * (split == "test") + index)
        for split, count in (("train", 40), ("test", 20))
        for label in COLOURS
        for index in range(count)
    }
    photos = str(write_folder(tmp / "photos", files))
    recipe, later = tmp / "kinds.toml", tmp / "later.toml"
    recipe.write_text(RECIPE)
    later.write_text(RECIPE.replace("[stages.kinds]\n", LATER))
    here = ["--data", photos, "--store", str(tmp / "store")]
    commands = {
        "crop": ["run", str(recipe), "--data", photos, "--json"],
        "stretch": ["run", str(recipe), "--data", photos, "--set=data.fit=stretch", "--json"],
        "pad": ["run", str(recipe), *here, "--set=data.fit=pad", "--json"],
        "plan": ["plan", str(recipe), *here],
        "evaluate": ["evaluate", "latest/kinds", *here, "--json"],
        "predict": [
            *("predict", "latest/kinds", f"{photos}/test", "--json", "--maps", str(tmp / "maps")),
            *("--store", str(tmp / "store")),
        ],
        "export": ["export", "latest/kinds", str(tmp / "exported"), "--store", str(tmp / "store")],
        "later": ["plan", str(later), *here],
        "later, the same": ["plan", str(later), *here, "--set=data.fit=pad"],
        "draft": [
            *("new-recipe", photos, "--start", "latest/kinds", "-o", str(tmp / "draft.toml")),
            *("--store", str(tmp / "store")),
        ],
        "later, run": ["run", str(later), *here, "--json"],
        "misspelt": ["plan", str(recipe), *here, "--set=data.fit=padd"],
    }
    found = in_one_process(commands, tmp, prefect_home, PREFECT_API_URL=server)
    found["files"] = Outcome(0, json.dumps({"folder": str(tmp)}), "")
    return found


def test_pictures_that_are_cropped_lose_what_is_beside_the_square(
    outcomes: dict[str, Outcome],
) -> None:
    accuracy = {
        fit: outcomes[fit].json["stages"]["kinds"]["metrics"]["accuracy"]
        for fit in ("crop", "pad", "stretch")
    }
    assert accuracy["crop"] < 0.8
    assert accuracy["pad"] > 0.95
    assert accuracy["stretch"] > 0.95


def test_a_model_meets_every_picture_as_in_training(outcomes: dict[str, Outcome]) -> None:
    trained = outcomes["pad"].json["stages"]["kinds"]["metrics"]
    assert outcomes["evaluate"].json["metrics"]["accuracy"] == trained["accuracy"]
    rows = outcomes["predict"].json["predictions"]
    right = [row["label"] == Path(row["file"]).parent.name for row in rows]
    assert np.mean(right) == trained["accuracy"]
    folder = Path(outcomes["files"].json["folder"])
    maps = sorted((folder / "maps").iterdir())
    assert len(maps) == 40
    with Image.open(maps[0]) as picture:  # an image beside its map
        shown = np.asarray(picture.convert("RGB").crop((0, 0, 224, 224)), int)
    padding = shown[20, 112]
    assert np.abs(shown[20, 20] - padding).max() < 5
    assert np.abs(shown[112, 20] - padding).max() > 20, "an end of the strip"
    assert np.ptp(shown[112, 112]) < 40, "its grey middle"


def test_model_card_and_export_say_how_to_make_the_square(outcomes: dict[str, Outcome]) -> None:
    model = Path(outcomes["pad"].json["stages"]["kinds"]["model"])
    page = (model / "README.md").read_text("utf-8")
    assert '"rb").read(), 16, fit="pad")' in page
    assert "centred on a square of its mean colour; 16 pixels a side" in page
    for folder in (model, Path(outcomes["files"].json["folder"]) / "exported"):
        about = json.loads((folder / "labels.json").read_text("utf-8"))
        assert about["fit"] == "pad"
        assert 'decode(data, 16, fit="pad")' in about["input"]
        assert b"fit: Fit = CROP" in (folder / "read_image.py").read_bytes()
    assert "fit" not in json.loads(
        _card_of(Path(outcomes["crop"].json["stages"]["kinds"]["model"]))
    )
    assert json.loads(_card_of(model))["fit"] == "pad"


def _card_of(model: Path) -> str:
    content = (model / "model.safetensors").read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return str(header["__metadata__"]["relevo"])


def test_the_report_says_what_was_done(outcomes: dict[str, Outcome]) -> None:
    for fit, words in (("pad", "padded to a square"), ("crop", "the centre square was used")):
        assert words in Path(outcomes[fit].json["report"]).read_text("utf-8")
    assert "fit crop, was pad" in outcomes["plan"].out


def test_a_start_whose_pictures_were_made_square_in_another_way_is_named(
    outcomes: dict[str, Outcome],
) -> None:
    line = (
        "stages.more starts from a model that was trained with data.fit = 'pad', and goes on with 'crop'; "
        "set data.fit = 'pad' to keep it"
    )
    assert outcomes["later"].err == f"{line}\n"
    assert line in outcomes["later, run"].err
    assert outcomes["later, the same"].err == ""
    draft = (Path(outcomes["files"].json["folder"]) / "draft.toml").read_text("utf-8")
    assert outcomes["draft"].status == 0
    assert '\nfit = "pad"' in draft


def test_a_misspelt_fit_is_refused(outcomes: dict[str, Outcome]) -> None:
    assert outcomes["misspelt"].status == 2
    assert (
        "data.fit = 'padd': input should be 'crop', 'pad' or 'stretch'" in outcomes["misspelt"].err
    )
