"""A stage that starts from a model of an earlier run: as from a stage of its recipe, wherever the model is."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.command import SMALL, Chain, Outcome, in_one_process
from support.stores import count_reads

from flows.parameters import RunRequest, StageInputs
from flows.train_stage import train_stage
from tasks.promotion.promote import promote
from tasks.runs.gc import collect
from tasks.runs.lookup import look_up
from tasks.runs.starts import Starts, models_in
from tasks.runs.summary import Lineage
from tasks.store.base import sha256_of
from tasks.vision.errors import BadInput
from tasks.vision.recipe.parse import parse_recipe
from tasks.vision.trained_model import pack, unpack

START = "stages.transfer.start"
TRANSFER = [*SMALL, "--stage=transfer"]


def names(chain: Chain) -> tuple[str, Path]:
    """The newest run of the chain's store, and the folder of its first model."""
    newest = max(each.name for each in (chain.store / "runs").iterdir())
    return newest, Path(chain.first.json["stages"]["baseline"]["model"])


@pytest.fixture(scope="module")
def outcomes(
    chain: Chain, prefect_home: Path, server: str, tmp_path_factory: Any
) -> dict[str, Outcome]:
    """Outcomes of commands; those without a store of their own use the chain's."""
    _, folder = names(chain)
    tmp = tmp_path_factory.mktemp("starts")
    damaged = tmp / "damaged"
    shutil.copytree(folder, damaged)
    (damaged / "model.safetensors").write_bytes(b"{" * 1000)
    card, tensors = unpack((folder / "model.safetensors").read_bytes(), "a model")
    for name, spoilt in (
        ("infinite", pack(card, {key: value * np.inf for key, value in tensors.items()})),
        (
            "flat",
            pack(
                card.model_copy(
                    update={
                        "architecture": card.architecture.model_copy(
                            update={"std": (0.0, 1.0, 1.0)}
                        )
                    }
                ),
                tensors,
            ),
        ),
    ):
        (tmp / name).mkdir()
        (tmp / name / "model.safetensors").write_bytes(spoilt)
    here = ["--store", str(chain.store)]  # for what writes nothing
    copy = shutil.copytree(chain.store, tmp / "store")
    start = f"--set={START}="
    promote(str(copy), "latest/baseline", "pair")
    commands = {
        "plan": ["plan", "digits", "--json", *TRANSFER, f"{start}latest/baseline", *here],
        "run": [
            *("run", "digits", "--json", *TRANSFER, f"{start}latest/baseline"),
            *("--store", str(copy)),
        ],
        "alias": [
            *("run", "digits", "--json", *TRANSFER, f"{start}@pair", "--store", str(copy)),
        ],
        "folder": [
            *("run", "digits", "--json", *TRANSFER, f"{start}{folder}"),
            "--set=stages.transfer.controls=false",
        ],
        "run of no name": ["run", "digits", *TRANSFER, f"{start}never/baseline", *here],
        "stage of no name": ["plan", "digits", *TRANSFER, f"{start}latest/basline", *here],
        "no store": ["run", "digits", *TRANSFER, f"{start}latest/baseline"],
        "no folder": ["run", "digits", *TRANSFER, f"{start}{tmp}/nowhere"],
        "neither": ["run", "digits", *TRANSFER, f"{start}basline", *here],
        "damaged": ["run", "digits", *TRANSFER, f"{start}{damaged}"],
        "infinite": ["run", "digits", *TRANSFER, f"{start}{tmp}/infinite"],
        "flat": ["run", "digits", *TRANSFER, f"{start}{tmp}/flat"],
        "elsewhere": ["plan", "digits", *TRANSFER, f"{start}https://b/models/x"],
        "misspelt": ["plan", "digits", *TRANSFER, f"{start}s3:/b/models/x"],
        "hash": [
            "run",
            "digits",
            *TRANSFER,
            f"{start}{folder}",
            f"--set={START[:-5]}sha256={'0' * 64}",
        ],
        "size": ["run", "digits", *TRANSFER, f"{start}{folder}", "--set=data.image_size=24"],
        "network": [
            "plan",
            "digits",
            *TRANSFER,
            f"{start}{folder}",
            f"--set={START[:-5]}network.widths=[4]",
        ],
        "blocks": [
            *("plan", "digits", f"{start}{folder}", f"--set={START[:-5]}train='head then all'"),
            f"--set={START[:-5]}frozen_blocks=3",
        ],
    }
    return in_one_process(commands, tmp, prefect_home, PREFECT_API_URL=server)


def test_model_of_a_run_is_as_good_as_a_stage(outcomes: dict[str, Outcome], chain: Chain) -> None:
    """The same digest gives the same keys: the stage and all its controls are cached."""
    assert {step["hit"] for step in outcomes["plan"].json["steps"].values()} == {True}
    stage = outcomes["run"].json["stages"]["transfer"]
    expected = chain.first.json["stages"]["transfer"]
    assert stage["state"] == "cached"
    assert stage["model_digest"] == expected["model_digest"]
    assert stage["controls"].keys() == expected["controls"].keys()
    assert all(each["state"] == "cached" for each in stage["controls"].values())


def test_model_of_another_store_gives_the_same_bits(
    outcomes: dict[str, Outcome], chain: Chain
) -> None:
    stage = outcomes["folder"].json["stages"]["transfer"]
    assert stage["state"] == "trained"
    assert stage["model_digest"] == chain.first.json["stages"]["transfer"]["model_digest"]


def test_documents_name_the_run_and_the_model(outcomes: dict[str, Outcome], chain: Chain) -> None:
    run, folder = names(chain)
    file, _ = sha256_of(folder / "model.safetensors")
    digest = chain.first.json["stages"]["baseline"]["model_digest"]
    given = f"{run}/baseline"
    for case, start in (("run", given), ("alias", given), ("folder", str(folder))):
        there = Path(outcomes[case].json["report"]).parent
        name = f"{folder.parents[1].name}/baseline" if case == "folder" else start
        assert outcomes[case].json["stages"]["transfer"]["start"] == start
        assert f'start = "{start}"\nsha256 = "{file}"' in (there / "recipe.toml").read_text()
        card = (there / "models/transfer/README.md").read_text()
        assert f"| starts from | {name.replace('_', chr(92) + '_')}, `{digest}` |" in card
        page = (there / "report.html").read_text()
        assert f"starts from {name}" in page
        assert "latest/" not in page
    lineage = Lineage.model_validate_json((there / "lineage.json").read_text())
    origins = {ref.kind: ref for ref in lineage.models["transfer"].made_from}
    assert (origins["model"].sha256, f"sha256:{origins['model'].digest}") == (file, digest)


def test_a_run_of_the_past_can_be_run_again_without_its_start(
    outcomes: dict[str, Outcome], tmp_path: Path
) -> None:
    """A later collection leaves what a run has started from, and the recipe finds it by its hash."""
    summary = outcomes["folder"].json
    store = shutil.copytree(summary["store"], tmp_path / "store")
    collect(str(store), now=datetime.now(UTC) + timedelta(days=60))
    text = (store / "runs" / summary["run"] / "recipe.toml").read_text()
    gone = text.replace(
        f'start = "{summary["stages"]["transfer"]["start"]}"', 'start = "/gone/baseline"'
    )
    assert gone != text
    stage = parse_recipe(gone, "again", {}, models_in(str(store))).stages["transfer"]
    assert (stage.start, stage.pretrained) == ("/gone/baseline", None)
    with pytest.raises(BadInput, match="/gone/baseline"):
        parse_recipe(gone, "again", {}, models_in(str(tmp_path / "empty")))


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        (
            "run of no name",
            "stages.transfer.start = 'never/baseline': run 'never' is not there; known: ",
        ),
        ("stage of no name", "is not there; did you mean 'baseline'?"),
        ("no store", "has no runs yet"),
        (
            "no folder",
            "nowhere': expected RUN/STAGE, e.g. latest/baseline, @ALIAS, or a run's folder",
        ),
        (
            "neither",
            "did you mean 'baseline'? (or give RUN/STAGE or the folder of a trained model, FILE",
        ),
        ("damaged", "damaged/model.safetensors is not a relevo model"),
        ("infinite", "its scaling of images, are not finite"),
        ("flat", "its scaling of images, are not finite"),
        ("elsewhere", "can't be fetched from here; give a path or s3://bucket/prefix"),
        ("misspelt", "did you mean 's3://b/models/x'?"),
        ("hash", "the recipe expects 0000"),
        (
            "size",
            "that model takes images of 32 pixels, the recipe's have 24; set data.image_size = 32",
        ),
        ("network", "stages.transfer.network has no effect, since the stage starts from '/"),
        ("blocks", "can keep 2 of its blocks frozen"),
    ],
)
def test_model_that_a_stage_cannot_start_from_is_refused_in_one_line(
    outcomes: dict[str, Outcome], case: str, expected: str
) -> None:
    refused = outcomes[case]
    assert refused.status == 2
    assert expected in refused.err
    assert len(refused.err.splitlines()) == 1


def test_worker_needs_neither_run_nor_folder(chain: Chain, server: str, tmp_path: Path) -> None:
    """The sender looks the models up; for a control from scratch, that tells its network."""
    _, folder = names(chain)
    store = str(shutil.copytree(chain.store, tmp_path / "store"))
    given = (each.removeprefix("--set=").partition("=") for each in SMALL)
    settings = {key: json.loads(value) for key, _, value in given}
    settings[START] = str(folder)
    models = RunRequest("digits", store, settings=settings).recipe.models
    lineage = Lineage.model_validate_json((folder.parents[1] / "lineage.json").read_text())
    start = look_up("", str(folder)).ref
    for controls in ((), ("scratch", "random")):
        inputs = StageInputs(controls=controls, dataset=lineage.dataset, start=start, models=models)
        moved = {**settings, START: "/nowhere/baseline"}
        answer = train_stage("transfer", store=store, settings=moved, inputs=inputs)
        titles = [f"transfer, {kind}" for kind in controls] or ["transfer"]
        assert {title: each.state for title, each in answer.items()} == dict.fromkeys(
            titles, "cached"
        )


def test_latest_is_looked_up_once(chain: Chain) -> None:
    run, folder = names(chain)
    request = RunRequest("digits", str(chain.store), settings={START: "latest/baseline"}).pinned()
    assert request.command().endswith(f"--set {START}={run}/baseline")
    assert request.for_workers(request.recipe)["settings"][START] == f"{run}/baseline"
    same = RunRequest("digits", str(chain.store), settings={START: str(folder)}).pinned()
    assert same.recipe.stages["transfer"].sha256 == request.recipe.stages["transfer"].sha256


def test_model_is_read_once_to_look_it_up_and_to_start_from_it(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = count_reads(monkeypatch)
    request = RunRequest("digits", str(chain.store), settings={START: "latest/baseline"}).pinned()
    plan = request.recipe
    starts = Starts(plan, plan.stages, request.source, request.store, request.read)
    assert reads == {starts.models["transfer"].uri: 1}


def test_folder_without_a_slash_is_found_unless_a_stage_has_its_name(
    chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, folder = names(chain)
    for name in ("exported", "own"):
        shutil.copytree(folder, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    text = '[data]\nsource = "digits"\n[stages.own]\n[stages.next]\nstart = "NAME"\n'
    find = models_in(str(tmp_path / "store"))
    found, own = (
        parse_recipe(text.replace("NAME", name), "mine", {}, find).stages["next"]
        for name in ("exported", "own")
    )
    assert (found.start, found.parent) == (str(tmp_path / "exported"), None)
    assert (own.start, own.parent) == ("own", "own")


def test_model_in_a_bucket(chain: Chain, bucket: str, s3: Any, tmp_path: Path) -> None:
    _, folder = names(chain)
    name, _, prefix = f"{bucket.removeprefix('s3://')}/exported".partition("/")
    s3.upload_file(str(folder / "model.safetensors"), name, f"{prefix}/model.safetensors")
    text = '[data]\nsource = "digits"\n[stages.next]\nstart = "ADDRESS"\n'
    find, address = models_in(str(tmp_path)), f"s3://{name}/{prefix}"
    stage = parse_recipe(text.replace("ADDRESS", address), "mine", {}, find).stages["next"]
    assert (stage.start, stage.sha256) == (address, sha256_of(folder / "model.safetensors")[0])
    with pytest.raises(BadInput, match=r"stages\.next\.start = 's3://"):
        parse_recipe(text.replace("ADDRESS", f"{address}s"), "mine", {}, find)
