"""`relevo run` end to end: a chain of real models, its cache, run folder and messages."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from support.command import SMALL, Chain, Relevo

STAGES = [
    "baseline",
    "transfer",
    "ten_class",
    "ten_class_from_baseline",
    "ten_class_from_transfer",
]


def test_first_run_trains_all_five_stages(chain: Chain) -> None:
    summary = chain.first.json
    assert list(summary["stages"]) == STAGES
    assert {stage["state"] for stage in summary["stages"].values()} == {"trained"}
    assert summary["recipe"] == "digits"
    assert re.fullmatch("sha256:[0-9a-f]{64}", summary["dataset"])
    for name, stage in summary["stages"].items():
        assert re.fullmatch("sha256:[0-9a-f]{64}", stage["model_digest"]), name
        assert stage["seconds"] > 0
        assert stage["images_per_second"] > 0
        assert Path(stage["model"]).is_dir()
    assert summary["stages"]["transfer"]["start"] == "baseline"
    assert set(summary["stages"]["baseline"]["metrics"]["recall"]) == {"one", "other"}


def test_models_beat_the_majority_class(chain: Chain) -> None:
    stages = chain.first.json["stages"]
    baseline = stages["baseline"]["metrics"]
    assert baseline["accuracy"] > baseline["majority"] + 0.02
    # A head on the detector's frozen features classifies ten digits far better than chance.
    assert stages["ten_class_from_baseline"]["metrics"]["accuracy"] > 0.8
    assert stages["ten_class"]["metrics"]["accuracy"] > 0.4


def test_second_run_trains_nothing(chain: Chain) -> None:
    first, second = chain.first.json, chain.second.json
    assert {stage["state"] for stage in second["stages"].values()} == {"cached"}
    assert second["run"] != first["run"]
    for name in STAGES:
        same = ("seconds", "epochs", "model_digest", "metrics", "images_per_second")
        assert {k: second["stages"][name][k] for k in same} == {
            k: first["stages"][name][k] for k in same
        }


def test_second_run_imports_no_tensorflow(chain: Chain) -> None:
    imported = re.findall(r"import time:.*\|\s*(\S+)$", chain.second.err, re.M)
    assert "prefect" in imported
    assert not {"tensorflow", "keras", "matplotlib"} & {name.split(".")[0] for name in imported}


def test_progress_is_printed_and_nothing_else(chain: Chain) -> None:
    lines = chain.first.err.splitlines()
    assert any(re.search(r"train baseline: .*epoch 3/3: loss .* images/s", line) for line in lines)
    strange = [line for line in lines if not re.match(r"[a-z][\w, ]*: +\S", line)]
    assert strange == []
    assert not re.search("Traceback|WARNING|Error|I0000", chain.first.err)


def test_frozen_tensors_are_proven_equal(chain: Chain) -> None:
    page = Path(chain.first.json["report"]).read_text("utf-8")
    from tasks.vision.trained_model import unpack

    stages = chain.first.json["stages"]
    (_, before), (card, after) = (
        unpack((Path(stages[name]["model"]) / "model.safetensors").read_bytes(), name)
        for name in ("baseline", "transfer")
    )
    shared = [name for name in before if not name.startswith(("head/", "standardise/"))]
    assert len(shared) > 5
    assert all((before[name] == after[name]).all() for name in shared)
    assert card.frozen is not None
    assert card.frozen["equal"]
    assert card.frozen["digest"].removeprefix("sha256:")[:12] in page


def test_run_folder_has_report_figures_recipe_and_lineage(chain: Chain) -> None:
    summary = chain.first.json
    folder = Path(summary["report"]).parent
    figures = {path.name for path in (folder / "figures").glob("*.png")}
    assert {"class_distribution.png", "transfer_transfer_against_scratch.png"} <= figures
    for stage in STAGES:
        for kind in ("loss", "accuracy", "confusion", "reliability"):
            assert f"{stage}_{kind}.png" in figures
    page = (folder / "report.html").read_text("utf-8")
    assert page.count("data:image/png;base64,") >= len(figures)
    for label in ("one", "other"):
        assert f"Grid of test images of “{label}”, each with the label that baseline" in page
    assert not re.search(r"(?:src|href)=[\"']https?:", page)
    assert json.loads((folder / "lineage.json").read_text())["models"]["transfer"]["made_from"]
    assert "[stages.transfer]" in (folder / "recipe.toml").read_text()


def test_recipe_in_the_run_folder_runs_again_from_the_cache(
    chain: Chain, relevo: Relevo, server: str, tmp_path: Path
) -> None:
    copy = tmp_path / "mine.toml"
    copy.write_bytes((Path(chain.first.json["report"]).parent / "recipe.toml").read_bytes())
    again = relevo(
        "run", str(copy), "--store", str(chain.store), "--json", env={"PREFECT_API_URL": server}
    ).json
    assert {stage["state"] for stage in again["stages"].values()} == {"cached"}


def test_run_in_spanish_trains_nothing(chain: Chain) -> None:
    spanish = chain.spanish
    assert {stage["state"] for stage in spanish.json["stages"].values()} == {"cached"}
    written = [line for line in spanish.err.splitlines() if not line.endswith("cached")]
    assert [line.split(":")[0] for line in written] == ["write report"]
    folders = [Path(run.json["report"]).parent for run in (chain.first, spanish)]
    english, page = ((folder / "report.html").read_text("utf-8") for folder in folders)
    assert '<html lang="en">' in english
    assert '<html lang="es">' in page
    assert "Cifras manuscritas: ¿es un 1?" in page
    assert "--lang es" in page
    assert re.search(r"Exactitud de <b>0,\d{3}</b> en 360 imágenes de prueba", page)
    for name in ("transfer_loss", "transfer_confusion", "class_distribution"):
        one, other = ((folder / "figures" / f"{name}.png").read_bytes() for folder in folders)
        assert one != other


def test_changed_epoch_count_retrains_that_stage_and_its_dependants(
    chain: Chain, relevo: Relevo, server: str, tmp_path: Path
) -> None:
    shutil.copytree(chain.store, tmp_path / "s")
    words = [*SMALL, "--set=stages.baseline.epochs=2", "--store", str(tmp_path / "s"), "--json"]
    words += ["--stage=ten_class", "--stage=ten_class_from_baseline"]
    stages = relevo("run", "digits", *words, env={"PREFECT_API_URL": server}).json["stages"]
    states = {name: stage["state"] for name, stage in stages.items()}
    retrained = dict.fromkeys(["baseline", "ten_class_from_baseline"], "trained")
    assert states == {**retrained, "ten_class": "cached"}


def test_damaged_files_are_named_and_recomputed(
    chain: Chain, relevo: Relevo, server: str, tmp_path: Path
) -> None:
    shutil.copytree(chain.store, tmp_path / "s")
    where = ["--store", str(tmp_path / "s")]
    lineage = next((tmp_path / "s" / "runs").glob(f"{chain.first.json['run']}/lineage.json"))
    model = tmp_path / "s" / json.loads(lineage.read_text())["models"]["ten_class"]["uri"]
    content = model.read_bytes()
    model.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    record = next((tmp_path / "s" / "cache").glob("prepare-*"))
    record.write_bytes(record.read_bytes().replace(b"datasets/", b"datasets/0", 1))
    refused = relevo("evaluate", f"{chain.first.json['run']}/ten_class", "--data=digits", *where)
    assert refused.status == 2
    assert "is damaged; run its recipe again" in refused.err

    words = ["run", "digits", "--stage", "ten_class", *where, "--json", *SMALL]
    again = relevo(*words, env={"PREFECT_API_URL": server})
    stage = again.json["stages"]["ten_class"]
    assert stage["state"] == "trained"
    assert stage["model_digest"] == chain.first.json["stages"]["ten_class"]["model_digest"]
    assert stage["metrics"] == chain.first.json["stages"]["ten_class"]["metrics"]
    assert again.err.count("is damaged") == 2, again.err
    assert again.json["dataset"] == chain.first.json["dataset"]


def test_runs_and_show_find_the_run(chain: Chain, relevo: Relevo) -> None:
    listed = relevo("runs", "--store", str(chain.store), "--json").json["runs"]
    names = [entry["run"] for entry in listed]
    assert names[:2] == [chain.first.json["run"], chain.second.json["run"]]
    table = relevo("runs", "--store", str(chain.store), env={"COLUMNS": "80"}).out
    assert max(map(len, table.splitlines())) <= 80
    first = next(line for line in table.splitlines() if names[0] in line)
    stages = chain.first.json["stages"]
    scores = [f"{stage['metrics']['accuracy']:.4f}".lstrip("0") for stage in stages.values()]
    assert " ".join(scores) in first
    assert ", ".join(stages) in " ".join(table.split())
    shown = relevo("show", names[0], "--store", str(chain.store)).out
    assert names[0] in shown
    for stage in STAGES:
        assert stage in shown
    assert max(len(line) for line in shown.splitlines() if "report:" not in line) <= 80


def test_evaluate_scores_images_it_has_never_seen(
    chain: Chain, relevo: Relevo, tmp_path: Path
) -> None:
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    for i in range(0, 600, 2):  # other sizes and modes than the model was trained on
        scan = Image.fromarray((digits.images[i] * 15.9).astype("uint8")).resize((48, 48))
        label = "one" if digits.target[i] == 1 else "other"
        folder = tmp_path / "photos" / "test" / label
        folder.mkdir(parents=True, exist_ok=True)
        scan.convert("RGBA" if i % 4 else "L").save(folder / f"{i:04}.png")
    where = ["--store", str(chain.store), "--data", str(tmp_path / "photos")]
    run = chain.first.json
    scores = relevo("evaluate", f"{run['run']}/baseline", *where, "--json").json
    assert scores["labels"] == ["one", "other"]
    assert sum(map(sum, scores["confusion"])) == 300
    assert scores["metrics"]["accuracy"] > 0.9
    folder = run["stages"]["baseline"]["model"]
    exported = relevo("evaluate", folder, *where, "--json").json
    assert exported["confusion"] == scores["confusion"]
