"""A stage that starts from a Keras 3 file: features once, heads in seconds, and all that a run gives."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image
from support.command import Outcome, in_one_process
from support.keras_files import write_keras

from flows.parameters import StageInputs
from flows.train_stage import train_stage
from tasks.io.load import load_evaluation
from tasks.io.prepared import load_dataset
from tasks.runs.lookup import find_model
from tasks.runs.summary import Lineage
from tasks.store.base import sha256_of
from tasks.store.opening import open_store
from tasks.vision.device import Device
from tasks.vision.export.keras_file import stock_model
from tasks.vision.network.predictor import Predictor
from tasks.vision.ood_score import OOD_THRESHOLD
from tasks.vision.pretrained.compute import class_maps
from tasks.vision.pretrained.compute.head_model import head_function
from tasks.vision.pretrained.graph.head_tensors import split_tensors
from tasks.vision.trained_model import Card, pack, unpack

RECIPE = """
[data]
source = "digits"
image_size = 32
[labels.one]
targets = { one = ["1"] }
rest = "other"
[stages.ten]
start = "NET"
train = "head"
controls = false
[stages.one]
labels = "one"
start = "NET"
train = "head"
[stages.tuned]
start = "NET"
train = "head then all"
frozen_blocks = 1
epochs = 1
controls = false
"""


class Made:
    """A folder with a recipe, a network, scans, and a store; and what commands answered."""

    def __init__(self, folder: Path, home: Path, server: str) -> None:
        self.folder, self._home, self._server = folder, home, server
        self.store, self.net = folder / "store", write_keras(folder / "net.keras")
        self.recipe = folder / "own.toml"
        self.recipe.write_text(RECIPE.replace("NET", str(self.net)))
        (folder / "scans").mkdir()
        random = np.random.default_rng(0)
        for i in range(3):
            pixels = random.integers(0, 256, (32, 32, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"scans/{i}.png")

    def __call__(self, **commands: list[str]) -> dict[str, Outcome]:
        """Run commands in one process; `RECIPE` stands for the recipe."""
        words = {
            name: [
                *(str(self.recipe) if word == "RECIPE" else word for word in each),
                *("--store", str(self.store)),
            ]
            for name, each in commands.items()
        }
        env = {"PREFECT_API_URL": self._server}
        return in_one_process(words, self.folder, self._home, **env)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, prefect_home: Path, server: str) -> Made:
    return Made(tmp_path_factory.mktemp("pretrained"), prefect_home, server)


@pytest.fixture(scope="module")
def runs(made: Made) -> dict[str, Outcome]:
    scans, none = str(made.folder / "scans"), str(made.folder / "none.keras")
    return made(
        unknown=["plan", "RECIPE", "--json"],
        first=["run", "RECIPE", "--json"],
        second=["run", "RECIPE", "--json"],
        check=["check", "RECIPE", "--json"],
        seed=["run", "RECIPE", "--json", "--stage", "ten", "--seed", "1"],
        plan=["plan", "RECIPE", "--json"],
        longer=["plan", "RECIPE", "--json", "--set", "stages.tuned.epochs=2"],
        evaluate=["evaluate", "latest/ten", "--data", "digits", "--json"],
        predict=["predict", "latest/ten", scans, "--json", "--maps", str(made.folder / "maps")],
        unsure=[
            "predict",
            "latest/ten",
            scans,
            "--unless",
            ".01",
            "--csv",
            str(made.folder / "seen.csv"),
            "--maps",
            str(made.folder / "unsure"),
        ],
        features=["plan", "RECIPE", "--json", "--set", "stages.one.features='last layer'"],
        verify=["verify"],
        hash=["run", "RECIPE", "--set", f"stages.ten.sha256={'0' * 64}"],
        missing=["run", "RECIPE", "--set", f"stages.ten.start={none}"],
        whole=["run", "RECIPE", "--set", "stages.ten.train=all"],
        blocks=["run", "RECIPE", "--set", "stages.tuned.frozen_blocks=2"],
        images=["run", "RECIPE", "--data", "nowhere", "--set", f"stages.ten.start={none}"],
        small=["run", "RECIPE", "--set", "data.image_size=16"],
        model=[
            *("run", "RECIPE", "--json", "--set=stages.one.start=latest/ten"),
            *("--set=stages.ten.start=latest/ten", "--set=stages.ten.features='last layer'"),
        ],
        narrow=[
            "plan",
            "RECIPE",
            "--set",
            "stages.one.start=latest/one",
            "--set=stages.one.epochs=3",
        ],
        folds=["sweep", "RECIPE", "--folds", "2", "--stage", "ten", "--json"],
    )


def test_head_starts_from_the_network_of_an_earlier_head(
    runs: dict[str, Outcome], made: Made
) -> None:
    """What was computed for the network is a hit, and its head is not taken over."""
    first, model = runs["second"].json, runs["model"].json
    assert model["stages"]["one"]["state"] == "cached"
    assert model["stages"]["one"]["model_digest"] == first["stages"]["one"]["model_digest"]
    controls = [run["stages"]["one"]["controls"] for run in (first, model)]
    assert controls[0].keys() == controls[1].keys()
    assert all(each["state"] == "cached" for each in controls[1].values())
    latest = runs["seed"].json
    ten, start = model["stages"]["ten"], f"{latest['run']}/ten"
    assert (ten["state"], ten["start"]) == ("trained", start)
    card, _ = find_model(str(made.store), f"{model['run']}/ten")
    before, _ = find_model(str(made.store), start)
    file, _ = sha256_of(Path(latest["stages"]["ten"]["model"]) / "model.safetensors")
    assert card.pretrained
    assert before.pretrained
    assert card.pretrained.digest == before.pretrained.digest
    assert (card.pretrained.file, card.pretrained.sha256) == (start, file)
    toml = (Path(model["report"]).parent / "recipe.toml").read_text("utf-8")
    assert f'start = "{start}"\nsha256 = "{file}"' in toml
    page = Path(model["report"]).read_text("utf-8")
    assert f"network small from {start} (SHA-256 {file[:12]}…), frozen" in page
    assert "latest/" not in page
    refused = runs["narrow"]
    assert refused.status == 2
    assert "stages.one.epochs has no effect, since the stage starts from" in refused.err


def steps(outcome: Outcome) -> dict[str, Any]:
    found: dict[str, Any] = outcome.json["steps"]
    return found


def test_features_are_computed_once_for_all_heads(runs: dict[str, Outcome]) -> None:
    first = runs["first"]
    stages = first.json["stages"]
    assert {stage["state"] for stage in stages.values()} == {"trained"}
    assert stages["ten"]["metrics"]["accuracy"] > 0.4
    assert stages["one"]["metrics"]["balanced_accuracy"] > 0.6
    said = [line.split(":") for line in first.err.splitlines()]
    states = {line[0]: line[1].strip() for line in said if line[0].startswith("features")}
    assert states["features one"] == "cached"
    assert "features ten" in states
    assert "features one, random" in states
    assert states["features one, sample"] == "cached"


def test_labels_are_judged_by_heads_that_have_not_seen_them(runs: dict[str, Outcome]) -> None:
    """On the features of the run, which has judged them for its report."""
    found = runs["check"].json
    assert (found["basis"], found["judge"], found["judged"]) == ("out of fold", "tuned", 1797)
    assert found["counts"]["suspicious label"] > 0
    assert re.search("^check labels: +cached$", runs["check"].err, re.M)
    page = Path(runs["first"].json["report"]).read_text("utf-8")
    assert "each by a head that has not seen it, on the frozen network of the stage tuned" in page


def test_controls_of_a_pretrained_network_cost_little(runs: dict[str, Outcome]) -> None:
    assert "controls" not in runs["first"].json["stages"]["ten"]
    stage = runs["first"].json["stages"]["one"]
    scratch, sample, random = (stage["controls"][kind] for kind in ("scratch", "sample", "random"))
    assert (scratch["start"], random["start"]) == (None, None)
    assert (scratch["epochs"], scratch["metrics"]["images"]) == (1, stage["metrics"]["images"])
    assert sample["metrics"]["images"] == random["metrics"]["images"] == 200
    assert sample["model_digest"] != random["model_digest"]
    page = (Path(runs["first"].json["report"])).read_text("utf-8")
    assert "Trained on a sample of 160 images and scored on 200, the same head reaches" in page


def test_second_run_trains_nothing(runs: dict[str, Outcome]) -> None:
    first, second = runs["first"].json["stages"], runs["second"].json["stages"]
    assert {stage["state"] for stage in second.values()} == {"cached"}
    assert all(first[name]["seconds"] == second[name]["seconds"] for name in first)


def test_fine_tuning_goes_on_from_the_head(runs: dict[str, Outcome], made: Made) -> None:
    first = runs["first"]
    said = [line.split(":") for line in first.err.splitlines()]
    # Its head is that of the stage which trains nothing else.
    assert next(line[1].strip() for line in said if line[0] == "train tuned").startswith("cached")
    assert "fine-tune tuned" in {line[0] for line in said}
    assert steps(runs["plan"])["fine-tune tuned"]["hit"]
    stages = first.json["stages"]
    cards = {
        name: find_model(str(made.store), stages[name]["model"])[0] for name in ("ten", "tuned")
    }
    frozen, tuned = cards["ten"].pretrained, cards["tuned"].pretrained
    assert frozen
    assert tuned
    assert tuned.start == frozen.digest != tuned.digest
    assert cards["tuned"].history[0] == cards["ten"].history[0]
    assert cards["tuned"].epochs == 2
    page = Path(first.json["report"]).read_text("utf-8")
    assert "except its head, trained further" in page


def test_another_seed_reuses_the_features(runs: dict[str, Outcome]) -> None:
    assert "features ten:" in runs["seed"].err
    assert "cached" in next(
        line for line in runs["seed"].err.splitlines() if line.startswith("features ten")
    )
    stage = runs["seed"].json["stages"]["ten"]
    assert stage["state"] == "trained"
    # The problem is convex: a seed changes nothing.
    assert stage["model_digest"] == runs["first"].json["stages"]["ten"]["model_digest"]


def test_folds_share_the_features(runs: dict[str, Outcome]) -> None:
    """A fold only changes which images are validation, so that none passes the network again."""
    (only,) = runs["folds"].json["combinations"]
    assert [run["state"] for run in only["runs"]] == ["trained", "trained"]
    assert only["runs"][0]["validation"] != only["runs"][1]["validation"]
    assert "once" not in runs["folds"].err


def test_plan_knows_features_and_heads(runs: dict[str, Outcome]) -> None:
    unknown, plan = steps(runs["unknown"]), steps(runs["plan"])
    assert {"features ten", "ten", "features one, random", "one, random", "one, sample"} <= set(
        plan
    )
    assert {step["hit"] for step in unknown.values()} == {False}
    assert {step["hit"] for step in plan.values()} == {True}


def test_plan_estimates_fine_tuning_from_an_earlier_one(runs: dict[str, Outcome]) -> None:
    took = runs["first"].json["stages"]["tuned"]["seconds"]
    planned = steps(runs["longer"])
    assert planned["fine-tune tuned"]["seconds"] == pytest.approx(2 * took, rel=0.01)
    assert planned["features tuned"]["seconds"] == planned["tuned"]["seconds"] == 0


def test_plan_knows_that_controls_take_few_images_and_share_features(
    runs: dict[str, Outcome],
) -> None:
    planned = steps(runs["features"])
    took = runs["first"].json["stages"]["one"]["controls"]["random"]["seconds"]
    assert planned["features one, random"]["seconds"] == pytest.approx(took, rel=0.01)
    sample = planned["features one, sample"]
    assert (sample["hit"], sample["seconds"]) == (False, 0)
    assert sample["reason"] == "computed by a step before"


def test_documents_name_the_network_and_its_file(runs: dict[str, Outcome], made: Made) -> None:
    summary = runs["first"].json
    sha256, _ = sha256_of(made.net)
    run = Path(summary["report"]).parent
    card, _ = find_model(str(made.store), str(run / "models/ten"))
    assert card.pretrained
    assert (card.pretrained.file, card.pretrained.sha256) == ("net.keras", sha256)
    assert (card.pretrained.name, card.pretrained.classes) == ("small", 5)
    assert summary["stages"]["ten"]["start"] == str(made.net)
    page = (run / "report.html").read_text("utf-8")
    assert f"network small from net.keras (SHA-256 {sha256[:12]}…), frozen" in page
    readme = (run / "models/ten/README.md").read_text("utf-8")
    assert f"net.keras, `sha256:{sha256}`" in readme
    assert f'sha256 = "{sha256}"' in (run / "recipe.toml").read_text("utf-8")
    lineage = json.loads((run / "lineage.json").read_text("utf-8"))
    origins = {ref["kind"]: ref["digest"] for ref in lineage["models"]["ten"]["made_from"]}
    assert f"sha256:{origins['network']}" == card.pretrained.digest
    assert {"dataset", "feature"} <= set(origins)
    assert runs["verify"].status == 0, runs["verify"].out


def test_evaluation_from_images_is_that_from_features(runs: dict[str, Outcome]) -> None:
    again = runs["evaluate"].json["metrics"]
    once = runs["second"].json["stages"]["ten"]["metrics"]
    assert again["accuracy"] == pytest.approx(once["accuracy"], abs=0.003)
    assert again["brier"] == pytest.approx(once["brier"], abs=1e-4)


@pytest.mark.parametrize("stage", ["ten", "one", "tuned"])
def test_exported_model_opens_in_plain_keras(
    runs: dict[str, Outcome], made: Made, stage: str
) -> None:
    folder = Path(runs["first"].json["stages"][stage]["model"])
    model = keras.saving.load_model(folder / "model.keras")
    images = np.stack(
        [np.asarray(Image.open(path)) for path in sorted((made.folder / "scans").iterdir())]
    )
    theirs = model.predict(images, verbose=0)
    card, tensors = find_model(str(made.store), str(folder))
    device = Device("cpu", "tests", "float32")
    np.testing.assert_allclose(Predictor(card, tensors, device)(images), theirs, atol=1e-4)
    np.testing.assert_allclose(stock_model(card, tensors)(images), theirs, atol=1e-5)
    if stage == "ten":
        rows = runs["predict"].json["predictions"]
        ours = [list(row["probabilities"].values()) for row in rows]
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_an_image_unlike_training_is_noted_and_unsure(runs: dict[str, Outcome], made: Made) -> None:
    for row in runs["predict"].json["predictions"]:  # noise, where digits were learnt
        assert row["unlike_training"]
        assert row["share_more_like_training"] >= OOD_THRESHOLD
        assert row["label"] == max(row["probabilities"], key=row["probabilities"].__getitem__)
    assert runs["unsure"].out.count("(unlike anything in training)") == 3
    assert runs["unsure"].out.count("unsure ") == 3
    header, first, *_ = (made.folder / "seen.csv").read_text().splitlines()
    assert header.endswith(",share_more_like_training")
    assert first.split(",")[1] == "unsure"


def test_a_head_of_before_still_predicts_without_a_score(
    runs: dict[str, Outcome], made: Made
) -> None:
    card, tensors = find_model(str(made.store), runs["first"].json["stages"]["ten"]["model"])
    older = {name: value for name, value in tensors.items() if not name.startswith("unlike/")}
    fields = card.model_dump(mode="json", exclude={"temperature"})
    card, older = unpack(pack(Card.model_validate(fields), older), "older")
    images = np.zeros((2, 32, 32, 3), np.uint8)
    device = Device("cpu", "tests", "float32")
    found = Predictor(card, older, device).predict(images)
    assert found.unlike is None
    now = Predictor(card, tensors, device).predict(images)
    np.testing.assert_array_equal(found.probabilities, now.probabilities)
    assert now.unlike is not None


def test_report_and_card_say_what_the_temperature_changed(runs: dict[str, Outcome]) -> None:
    summary = runs["first"].json
    metrics = summary["stages"]["ten"]["metrics"]
    assert metrics["uncalibrated"].keys() == {"ece", "brier", "log_loss"}
    assert metrics["log_loss"] != metrics["uncalibrated"]["log_loss"]
    run = Path(summary["report"]).parent
    page = (run / "report.html").read_text("utf-8")
    assert "The outputs of ten were divided by a temperature of " in page
    readme = (run / "models/ten/README.md").read_text("utf-8")
    assert "before a temperature of " in readme
    assert "unlike anything in training" in " ".join(readme.split())


def test_predict_writes_a_picture_of_where_the_model_looked(
    runs: dict[str, Outcome], made: Made
) -> None:
    labels = [row["label"] for row in runs["predict"].json["predictions"]]
    pictures = sorted((made.folder / "maps").iterdir())
    assert [each.name for each in pictures] == [
        f"{i + 1:05} {label} {i}.png" for i, label in enumerate(labels)
    ]
    with Image.open(pictures[0]) as picture:
        assert picture.size == (2 * 224 + 4, 224)
    unsure = sorted(each.name for each in (made.folder / "unsure").iterdir())
    assert unsure == [f"{i + 1:05} unsure {i}.png" for i in range(3)]


def test_report_shows_where_a_head_looked(runs: dict[str, Outcome], made: Made) -> None:
    run, home = Path(runs["first"].json["report"]).parent, open_store(str(made.store))
    lineage = Lineage.model_validate_json((run / "lineage.json").read_bytes())
    page = (run / "report.html").read_text("utf-8")
    for name in ("ten", "one", "tuned"):
        assert f"with the evidence for the label that {name} predicts in orange" in page
        maps = load_evaluation(lineage.evaluations[name], home)[1].maps
        assert maps
        assert maps.evidence.shape == (len(maps.answers), class_maps.SIDE, class_maps.SIDE)
    _, (positions, truth, probabilities, maps) = load_evaluation(lineage.evaluations["ten"], home)
    assert maps
    labels = probabilities[maps.answers].argmax(1)
    assert (labels == truth[maps.answers]).tolist() == [True] * 4 + [False] * 4
    images = load_dataset(lineage.dataset, home).stored_images("test")[positions[maps.answers]]
    evidence = class_maps.class_maps(*find_model(str(made.store), str(run / "models/ten")))
    exact = evidence(images, labels).clip(0)
    np.testing.assert_allclose(
        maps.evidence, 255 * exact / exact.max((1, 2))[:, None, None], atol=1
    )
    for control in lineage.controls.values():
        assert load_evaluation(control.evaluation, home)[1].maps is None


@pytest.mark.parametrize("stage", ["ten", "one", "tuned"])
def test_maps_of_a_label_add_up_to_its_logit(
    runs: dict[str, Outcome], made: Made, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(class_maps, "SIDE", 16)  # a multiple of the maps' sides keeps their means
    card, tensors = find_model(str(made.store), runs["first"].json["stages"][stage]["model"])
    images = np.random.default_rng(1).integers(0, 256, (40, 32, 32, 3), np.uint8)
    model = split_tensors(card, tensors)
    logits = head_function(card, tensors)(images).logits - model.bias
    both = np.concatenate([logits, -logits], 1) if card.binary else logits
    if not card.binary:
        both = both - both.mean(1, keepdims=True)
    chosen = np.arange(40) % len(card.labels)
    maps = class_maps.class_maps(card, tensors)(images, chosen)
    np.testing.assert_allclose(maps.mean((1, 2)), both[np.arange(40), chosen], atol=1e-3)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("hash", "its SHA-256 is "),
        ("missing", "there is no such file"),
        ("whole", "stages.ten.train = 'all': a pretrained network needs a new head first"),
        ("blocks", "stages.tuned.frozen_blocks = 2: the network small can keep 1 of its blocks"),
        ("small", "can't take images of 16 x 16 pixels"),
        ("images", "'nowhere'"),
    ],
)
def test_unusable_start_is_refused_in_one_line(
    runs: dict[str, Outcome], command: str, expected: str
) -> None:
    refused = runs[command]
    assert refused.status == 2
    assert expected in refused.err
    assert "prepare data" not in refused.err


def test_worker_needs_no_file(runs: dict[str, Outcome], made: Made, server: str) -> None:
    report = Path(runs["first"].json["report"])
    lineage = Lineage.model_validate_json((report.parent / "lineage.json").read_bytes())
    origins = {ref.kind: ref for ref in lineage.models["ten"].made_from}
    (answer,) = train_stage(
        "ten",
        own_recipe=RECIPE.replace("NET", "/nowhere/net.keras"),
        store=str(made.store),
        seed=7,
        settings={"stages.ten.sha256": sha256_of(made.net)[0]},
        inputs=StageInputs(dataset=lineage.dataset, start=origins["network"]),
    ).values()
    assert answer.state == "trained"
    assert answer.model.digest == lineage.models["ten"].digest


def test_damaged_features_are_computed_again(
    runs: dict[str, Outcome], made: Made, prefect_home: Path, server: str, tmp_path: Path
) -> None:
    """And a store that was copied needs the file no more than for its digest."""
    copy = Made.__new__(Made)
    copy.__dict__.update(made.__dict__)
    copy.folder, copy.store = tmp_path, tmp_path / "store"
    shutil.copytree(made.store, copy.store)
    for blob in (copy.store / "features").iterdir():
        blob.chmod(0o644)
        content = bytearray(blob.read_bytes())
        content[-1] ^= 1
        blob.write_bytes(content)
    healed = copy(again=["run", "RECIPE", "--json", "--stage", "ten", "--seed", "2"])["again"]
    assert "computing again" in healed.err
    stage = healed.json["stages"]["ten"]
    assert stage["model_digest"] == runs["first"].json["stages"]["ten"]["model_digest"]
