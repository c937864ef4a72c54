"""`relevo promote` and `relevo aliases` on real models, and @best wherever a model is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image
from support.command import SMALL, Chain, Outcome, in_one_process
from support.images import encoded, write_folder

from tasks.vision.data.sources import find_source, read_source

HEAD, ALONE, LAST = "ten_class_from_baseline", "ten_class", "ten_class_from_transfer"
START = "--set=stages.transfer.start=@pair"
REFUSED = {
    "no alias": (["promote", "latest/ten_class"], "expected RUN/STAGE --as NAME, or --back NAME"),
    "capitals": (["promote", "latest/ten_class", "--as", "Best"], "alias 'Best': expected 1 to 40"),
    "a path": (
        ["promote", "latest/ten_class", "--as", "../best"],
        "alias '../best': expected 1 to",
    ),
    "latest": (["promote", "latest/ten_class", "--as", "latest"], "not latest"),
    "no such model": (["promote", "latest/tenclass", "--as", "b"], "did you mean 'ten_class'?"),
    "no such alias": (["promote", "@bets", "--as", "b"], "alias @bets is not there; known: @best"),
    "a folder": (["promote", "FOLDER", "--as", "b"], "a folder can't be promoted"),
    "other labels": (
        ["promote", "latest/baseline", "--as", "best", "--if-better"],
        "models with other labels can't be compared",
    ),
    "a margin alone": (
        ["promote", "latest/ten_class", "--as", "b", "--margin", "0.1"],
        "--margin is a condition of --if-better",
    ),
    "a margin of all": (
        ["promote", "latest/ten_class", "--as", "b", "--if-better", "--margin", "1"],
        "--margin",
    ),
    "a metric of no name": (
        ["promote", "latest/ten_class", "--as", "b", "--if-better", "--metric", "f1"],
        "--metric",
    ),
    "back and forth": (
        ["promote", "latest/ten_class", "--back", "best"],
        "expected no model, --as",
    ),
    "back to nothing": (["promote", "--back", "pair"], "no model is known before"),
    "back of no alias": (["promote", "--back", "bets"], "alias @bets is not there; known: @best"),
    "no history": (["aliases", "bets"], "alias @bets is not there; known: @best"),
    "no such data": (
        ["promote", f"latest/{ALONE}", "--as", "best", "--if-better", "--data", "nowhere"],
        "data 'nowhere' isn't there",
    ),
    "no such model to evaluate": (["evaluate", "@bets", "--data", "digits"], "known: @best"),
    "no such model to predict by": (["predict", "@bets", "README.md"], "known: @best"),
    "no such start": (
        ["plan", "digits", *SMALL, "--stage=transfer", "--set=stages.transfer.start=@bets"],
        "stages.transfer.start = '@bets': alias @bets is not there; known: @best",
    ),
    "too long a reason": (
        ["promote", "latest/ten_class", "--as", "b", "--why", "x" * 501],
        "--why has 501 characters",
    ),
}


@pytest.fixture(scope="module")
def told(
    chain: Chain, prefect_home: Path, server: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Outcome]:
    """What one command after the other answered, on a copy of the chain's store."""
    tmp = tmp_path_factory.mktemp("promote")
    store = str(shutil.copytree(chain.store, tmp / "store"))
    scans = read_source(find_source("digits"), 32, splits=("test",)).splits["test"].images
    files = {f"{row}.png": encoded(Image.fromarray(scans[row]), "PNG") for row in range(5)}
    pictures = str(write_folder(tmp / "pictures", files))
    run = chain.first.json["run"]
    best = ["--as", "best"]
    commands = {
        "none": ["aliases"],
        "first": ["promote", f"{run}/{HEAD}", *best, "--why", "a start"],
        "better": ["promote", f"latest/{LAST}", *best, "--if-better", "--json"],
        "worse": ["promote", f"{run}/{HEAD}", *best, "--if-better"],
        "same": ["promote", f"{run}/{LAST}", *best, "--if-better", "--why", "again"],
        "by class": [
            *("promote", f"{run}/{ALONE}", *best, "--if-better", "--margin", "-0.9"),
            *("--metric", "balanced_accuracy", "--max-class-loss", "0", "--json"),
        ],
        "predict": ["predict", "@best", pictures, "--json"],
        "predict by name": ["predict", f"latest/{LAST}", pictures, "--json"],
        "show": ["show", "@best", "--json"],
        "other data": [
            *("promote", f"{run}/{HEAD}", "--as=best", "--if-better", "--data", "digits", "--json")
        ],
        "back": ["promote", "--back", "best", "--json"],
        "aliases": ["aliases", "--json"],
        "table": ["aliases"],
        "history": ["aliases", "best", "--json"],
        "history in words": ["aliases", "@best"],
        "pair": ["promote", f"{run}/baseline", "--as", "pair"],
        "start": ["run", "digits", "--json", *SMALL, "--stage=transfer", START],
        "verify": ["verify", "--json"],
    }
    folder = chain.first.json["stages"]["baseline"]["model"]
    commands |= {
        case: [folder if word == "FOLDER" else word for word in words]
        for case, (words, _) in REFUSED.items()
    }
    commands = {case: [*words, "--store", store] for case, words in commands.items()}
    return in_one_process(commands, tmp, prefect_home, PREFECT_API_URL=server)


def test_a_better_model_is_promoted(told: dict[str, Outcome], chain: Chain) -> None:
    assert told["none"].err == "no aliases yet; try: relevo promote latest/STAGE --as best\n"
    run = chain.first.json["run"]
    assert told["first"].out == f"@best is {run}/{HEAD} now\na start\n"
    found, stages = told["better"].json, chain.first.json["stages"]
    assert (found["alias"], found["promoted"], found["record"]) == ("best", True, 2)
    assert found["was"] == f"{run}/{HEAD}"
    assert found["model"].endswith(f"/{LAST}")
    scores = found["scores"]
    assert scores["scores"] == [stages[name]["metrics"]["accuracy"] for name in (HEAD, LAST)]
    assert (scores["images"], scores["left_out"], scores["unknown"]) == (360, 0, "")
    assert scores["interval"][0] > 0
    assert scores["p"] < 0.05
    expected = {label: stages[LAST]["metrics"]["recall"][label] for label in map(str, range(10))}
    assert {label: pair[1] for label, pair in scores["recall"].items()} == pytest.approx(expected)
    assert found["why"].startswith("accuracy ")


def test_a_model_that_is_no_better_is_not(told: dict[str, Outcome], chain: Chain) -> None:
    """Status 3, and the reason on standard output and in the history."""
    run = chain.first.json["run"]
    for case, reason in (
        ("worse", "; it is worse; on the test split of"),
        ("same", "it is the same"),
    ):
        assert told[case].status == 3
        assert told[case].err == ""
        first, second = told[case].out.splitlines()
        assert first.startswith("not promoted; @best is ")
        assert reason in second
    assert told["same"].out.endswith("it is the same model; again\n")
    found = json.loads(told["by class"].out)
    assert (told["by class"].status, found["promoted"]) == (3, False)
    assert "recall of '" in found["why"]
    assert found["scores"]["metric"] == "balanced_accuracy"
    history = told["history"].json["history"]
    assert [record["number"] for record in history] == list(range(1, 8))
    asked = [record["candidate"] for record in history]
    assert asked == [None, None, f"{run}/{HEAD}", f"{run}/{LAST}", f"{run}/{ALONE}", asked[5], None]
    words = told["history in words"].out
    assert f"not promoted {run}/{HEAD} (" in words
    assert all(record["why"] in words for record in history)


def test_given_images_are_checked_against_what_was_trained_on(told: dict[str, Outcome]) -> None:
    """The digits' own test split again, now as a source: no image of it was trained on."""
    assert told["other data"].status == 3
    found = json.loads(told["other data"].out)["scores"]
    assert (found["data"], found["images"], found["left_out"]) == ("digits", 360, 0)
    assert found["scores"] == pytest.approx(told["better"].json["scores"]["scores"][::-1], abs=0.02)


def test_back_is_the_model_before(told: dict[str, Outcome], chain: Chain) -> None:
    found = told["back"].json
    assert (found["promoted"], found["model"]) == (True, f"{chain.first.json['run']}/{HEAD}")
    listed = told["aliases"].json["aliases"]
    assert {name: each["model"] for name, each in listed.items()} == {"best": found["model"]}
    assert listed["best"]["model_digest"] == found["model_digest"]
    assert f"@best  {found['model']}" in told["table"].out


def test_an_alias_is_a_model_wherever_one_is_named(told: dict[str, Outcome], chain: Chain) -> None:
    assert told["predict"].json == told["predict by name"].json
    assert told["show"].json["run"] == told["better"].json["model"].partition("/")[0]
    # The run's own documents name the model that it was, with its hash.
    stage = told["start"].json["stages"]["transfer"]
    run = chain.first.json["run"]
    assert (stage["state"], stage["start"]) == ("cached", f"{run}/baseline")
    recipe = (Path(told["start"].json["report"]).parent / "recipe.toml").read_text()
    assert f'start = "{run}/baseline"\nsha256 = "' in recipe
    assert told["verify"].json["faults"] == []


@pytest.mark.parametrize("case", REFUSED)
def test_bad_promotions_are_refused_in_one_line(case: str, told: dict[str, Outcome]) -> None:
    refused = told[case]
    assert (refused.status, refused.out) == (2, "")
    assert REFUSED[case][1] in refused.err
    assert len(refused.err.splitlines()) == 1
