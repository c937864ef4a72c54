"""`relevo promote` and `relevo aliases`, and @best where a model is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from support.command import Outcome, in_one_process
from support.compared import CLASSES, PICTURES, data_set, model_of_run
from support.images import encoded, write_folder
from support.stores import mark

RIGHT = {"poor": 60, "decent": 90, "superior": 92}
BEST, IF_BETTER = ("--as", "best"), ("--as", "best", "--if-better")
REFUSED = {
    "no alias": (["promote", "decent/baseline"], "expected RUN/STAGE --as NAME, or --back NAME"),
    "capitals": (["promote", "decent/baseline", "--as", "Best"], "alias 'Best': expected 1 to 40"),
    "a path": (["promote", "decent/baseline", "--as", "../best"], "alias '../best': expected 1 to"),
    "latest": (["promote", "decent/baseline", "--as", "latest"], "not latest"),
    "no such model": (["promote", "decent/base", "--as", "b"], "did you mean 'baseline'?"),
    "no such alias": (["promote", "@bets", "--as", "b"], "alias @bets is not there; known: @best"),
    "a folder": (["promote", "FOLDER", "--as", "b"], "a folder can't be promoted"),
    "a margin alone": (
        ["promote", "decent/baseline", "--as", "b", "--margin", "0.1"],
        "--margin is a condition of --if-better",
    ),
    "a margin of all": (["promote", "decent/baseline", *IF_BETTER, "--margin", "1"], "--margin"),
    "more than all": (
        ["promote", "decent/baseline", *IF_BETTER, "--max-class-loss", "2"],
        "--max-class-loss",
    ),
    "no such metric": (["promote", "decent/baseline", *IF_BETTER, "--metric", "f1"], "--metric"),
    "back and forth": (["promote", "decent/baseline", "--back", "best"], "expected no model, --as"),
    "back to nothing": (["promote", "--back", "other"], "no model is known before poor/baseline"),
    "back of no alias": (["promote", "--back", "bets"], "alias @bets is not there; known: @best"),
    "no history": (["aliases", "bets"], "alias @bets is not there; known: @best, @other"),
    "no such data": (
        ["promote", "superior/baseline", *IF_BETTER, "--data", "nowhere"],
        "data 'nowhere' isn't there",
    ),
    "no such model to evaluate": (["evaluate", "@bets", "--data", "digits"], "known: @best"),
    "no such model to predict by": (["predict", "@bets", "README.md"], "known: @best"),
    "no such model to export": (["export", "@bets", "nowhere"], "known: @best"),
    "no such run": (["show", "@bets"], "known: @best"),
    "no such start": (
        ["plan", "digits", "--stage=transfer", "--set=stages.transfer.start=@bets"],
        "stages.transfer.start = '@bets': alias @bets is not there; known: @best",
    ),
    "too long a reason": (
        ["promote", "decent/baseline", "--as", "b", "--why", "x" * 501],
        "--why has 501 characters",
    ),
}


@pytest.fixture(scope="module")
def answers(prefect_home: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """What one command after the other answered: models that are right on 60, 90 and 92 of 100 images."""
    tmp = tmp_path_factory.mktemp("promote")
    home = mark(tmp / "store")
    data, test = data_set(home, range(60), range(60, 160)), range(60, 160)
    for run, right in RIGHT.items():
        model_of_run(home, run, data, test=test, right=right)
    folder = tmp / "store/runs/decent/models/baseline"
    folder.mkdir(parents=True)
    model = next((tmp / "store/models").iterdir())
    (folder / "model.safetensors").write_bytes(model.read_bytes())
    files = {
        f"test/{CLASSES[row % 3]}/{row}.png": encoded(Image.fromarray(PICTURES[row]), "PNG")
        for row in (0, *range(160, 170))
    }
    given = str(write_folder(tmp / "given", files))
    commands = {
        "none": ["aliases"],
        "first": ["promote", "poor/baseline", *BEST, "--why", "a start"],
        "better": ["promote", "decent/baseline", *IF_BETTER, "--json"],
        "noise": ["promote", "superior/baseline", *IF_BETTER],
        "worse": ["promote", "poor/baseline", *IF_BETTER],
        "same": ["promote", "decent/baseline", *IF_BETTER, "--why", "again"],
        "no worse": [
            *("promote", "superior/baseline", *IF_BETTER, "--margin", "-0.05"),
            *("--metric", "balanced_accuracy", "--max-class-loss", "0.5"),
        ],
        "a class": [
            *("promote", "poor/baseline", *IF_BETTER, "--margin", "-0.9"),
            *("--max-class-loss", "0.1", "--json"),
        ],
        "predict": ["predict", "@best", given, "--json"],
        "predict by name": ["predict", "superior/baseline", given, "--json"],
        "other images": ["promote", "decent/baseline", *IF_BETTER, "--data", given, "--json"],
        "show": ["show", "@best", "--json"],
        "compare": ["compare", "@best", "poor", "--json"],
        "back": ["promote", "--back", "best", "--json"],
        "other": ["promote", "poor/baseline", "--as", "other"],
        "aliases": ["aliases", "--json"],
        "table": ["aliases"],
        "history": ["aliases", "best", "--json"],
        "history in words": ["aliases", "@best"],
        "verify": ["verify", "--json"],
    }
    commands |= {
        case: [str(folder) if word == "FOLDER" else word for word in words]
        for case, (words, _) in REFUSED.items()
    }
    commands = {case: [*words, "--store", home.uri] for case, words in commands.items()}
    return in_one_process(commands, tmp, prefect_home)


def test_a_better_model_is_promoted(answers: dict[str, Outcome]) -> None:
    assert answers["none"].err == "no aliases yet; try: relevo promote latest/STAGE --as best\n"
    assert answers["first"].out == "@best is poor/baseline now\na start\n"
    found = answers["better"].json
    assert (found["alias"], found["promoted"], found["record"]) == ("best", True, 2)
    assert (found["model"], found["was"]) == ("decent/baseline", "poor/baseline")
    scores = found["scores"]
    assert (scores["scores"], scores["images"], scores["left_out"]) == ([0.6, 0.9], 100, 0)
    assert scores["interval"][0] > 0
    assert scores["p"] < 0.05
    assert set(scores["recall"]) == {*CLASSES}
    assert found["why"].startswith("accuracy 0.9000 on 100 images, 0.6000 before: +0.3000 (95 %: ")
    assert found["why"].endswith("; on the test split of decent")
    assert answers["no worse"].status == 0
    assert answers["no worse"].out.startswith(
        "@best is superior/baseline now, was decent/baseline\nbalanced"
    )


def test_a_model_that_is_no_better_is_not(answers: dict[str, Outcome]) -> None:
    """Status 3, and the reason on standard output and in the history."""
    reasons = {
        "noise": "; the difference is no more than noise; on the test split of superior",
        "worse": "; it is worse; on the test split of poor",
        "same": "it is the same model; again",
    }
    for case, reason in reasons.items():
        assert (answers[case].status, answers[case].err) == (3, "")
        first, second = answers[case].out.splitlines()
        assert first == "not promoted; @best is decent/baseline as before"
        assert second.endswith(reason)
    found = json.loads(answers["a class"].out)
    assert (answers["a class"].status, found["promoted"]) == (3, False)
    assert ", by more than 0.1; on" in found["why"]
    history = answers["history"].json["history"]
    assert [record["number"] for record in history] == list(range(1, 10))
    assert [record["action"] for record in history] == [
        *("promoted", "promoted", "not promoted", "not promoted", "not promoted"),
        *("promoted", "not promoted", "not promoted", "returned"),
    ]
    asked = [record["candidate"] for record in history]
    refused = [f"{run}/baseline" for run in ("superior", "poor", "decent")]
    assert asked == [None, None, *refused, None, "poor/baseline", "decent/baseline", None]
    assert all(record["why"] in answers["history in words"].out for record in history)
    assert (
        "not promoted superior/baseline (decent/baseline stays), by "
        in answers["history in words"].out
    )


def test_other_images_are_checked_against_those_of_training(answers: dict[str, Outcome]) -> None:
    """Of eleven, both models were trained on one, and answer the others alike."""
    assert answers["other images"].status == 3
    found = json.loads(answers["other images"].out)
    assert (found["scores"]["images"], found["scores"]["left_out"]) == (10, 1)
    assert found["scores"]["data"].endswith("/given")
    assert "; without 1 that one was trained on" in found["why"]


def test_back_is_the_model_before(answers: dict[str, Outcome]) -> None:
    found = answers["back"].json
    assert (found["promoted"], found["model"], found["was"]) == (
        True,
        "decent/baseline",
        "superior/baseline",
    )
    listed = answers["aliases"].json["aliases"]
    models = {"best": "decent/baseline", "other": "poor/baseline"}
    assert {name: each["model"] for name, each in listed.items()} == models
    assert listed["best"]["model_digest"] == found["model_digest"]
    assert "@best   decent/baseline  " in answers["table"].out
    assert answers["verify"].json["faults"] == []


def test_an_alias_is_a_model_wherever_one_is_named(answers: dict[str, Outcome]) -> None:
    assert answers["predict"].json == answers["predict by name"].json
    assert len(answers["predict"].json["predictions"]) == 11
    assert answers["show"].json["run"] == "superior"
    assert answers["compare"].json["runs"] == ["superior", "poor"]


@pytest.mark.parametrize("case", REFUSED)
def test_bad_promotions_are_refused_in_one_line(case: str, answers: dict[str, Outcome]) -> None:
    refused = answers[case]
    assert (refused.status, refused.out) == (2, "")
    assert REFUSED[case][1] in refused.err
    assert len(refused.err.splitlines()) == 1
