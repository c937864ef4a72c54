"""Aliases: one of several promotions at once wins, the history has no gap, and what is damaged is named."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.buckets import Backend, StartRelay
from support.cards import small_model
from support.command import ROOT, Relevo
from support.stores import finish_run, make_old, mark

from flows.parameters import RunRequest
from tasks.promotion.promote import go_back, promote
from tasks.runs.aliases.history import History, append, read_alias
from tasks.runs.aliases.record import AliasedModel, alias_name
from tasks.runs.gc import collect
from tasks.runs.listing import run_names
from tasks.runs.lookup import find_model, find_run, look_up
from tasks.runs.starts import models_in
from tasks.runs.verify import check_all
from tasks.store.base import Ref, Store, StoreError
from tasks.store.marker import MARKER, MARKER_CONTENT
from tasks.store.opening import open_store
from tasks.vision.errors import BadInput
from tasks.vision.recipe.parse import parse_recipe
from tasks.vision.trained_model import digest, pack

ROUNDS = 100
# A machine that promotes a model of its own as soon as it is allowed to, again and again.
MACHINE = """
import sys

from tasks.runs.aliases.record import AliasedModel
from tasks.runs.aliases.history import History, append
from tasks.store.base import Ref
from tasks.store.opening import open_store

address, name, ref, rounds = sys.argv[1:]
home, ref = open_store(address), Ref.model_validate_json(ref)
for round in range(int(rounds)):
    history = History.of(home, "best")
    print("ready", flush=True)
    sys.stdin.readline()
    model = AliasedModel(run=f"{name}-{round}", stage="baseline", ref=ref)
    print(append(history, "promoted", model, before=max(history.numbers, default=None)) is not None, flush=True)
"""


def runs_with_models(store: Path, *names: str) -> list[Ref]:
    """Runs with a model each, which differ in their weights."""
    card, tensors = small_model()
    refs = []
    for i, name in enumerate(names):
        other = {key: value + i for key, value in tensors.items()}
        content = pack(card, other)
        ref = mark(store).put("model", content, ".safetensors", digest=digest(other))
        finish_run(store, name, datetime(2026, 1, 1 + i, tzinfo=UTC), models={"baseline": ref})
        refs.append(ref)
    return refs


def names_of(store: Store) -> list[str]:
    return [str(record.model) for record in History.of(store, "best").newest_first()][::-1]


def test_of_two_promotions_at_once_one_wins(backend: Backend) -> None:
    home = backend.store
    ref = home.put("model", b"some")
    command = [sys.executable, "-c", MACHINE, home.uri]
    machines = {
        name: subprocess.Popen(
            [*command, name, ref.model_dump_json(), str(ROUNDS)],
            cwd=ROOT,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for name in ("here", "there")
    }
    winners = []
    for number in range(ROUNDS):
        for each in machines.values():
            assert each.stdout
            assert each.stdout.readline() == "ready\n"
        for each in machines.values():
            assert each.stdin
            each.stdin.write("go\n")
            each.stdin.flush()
        won = [n for n, m in machines.items() if m.stdout and m.stdout.readline() == "True\n"]
        assert len(won) == 1, f"round {number}: {won}"
        winners.append(f"{won[0]}-{number}/baseline")
    assert [each.wait(60) for each in machines.values()] == [0, 0]
    assert names_of(home) == winners
    history = History.of(home, "best")
    assert list(history.numbers) == list(range(1, ROUNDS + 1))
    assert [history.read(number).before for number in history.numbers] == [None, *range(1, ROUNDS)]
    assert [each.fault for each in check_all(home.uri) if each.fault] == []


def test_the_later_one_gets_one_line(
    bucket: str, relay: StartRelay, s3: Any, tmp_path: Path
) -> None:
    """Another machine promotes a model between the look at the history and the write."""
    runs_with_models(tmp_path, "one", "two")
    home = open_store(f"s3://{bucket}/x")
    for path in (path for path in tmp_path.rglob("*") if path.is_file()):
        home.write(path.relative_to(tmp_path).as_posix(), path.read_bytes())
    other = open_store(f"s3://{bucket}/y")
    model = AliasedModel(run="one", stage="baseline", ref=other.put("model", b"some"))
    append(History.of(other, "best"), "promoted", model, by="me@there")
    key = "aliases/best/00000001.json"
    record, late = other.read(key), []

    def meanwhile(name: str) -> None:
        if name.startswith("PUT") and "relevo-store.json" in name:
            late.append(s3.put_object(Bucket=bucket, Key=f"x/{key}", Body=record))

    relay(meanwhile)
    done = promote(home.uri, "two/baseline", "best")
    assert late
    assert (done.changed, done.record) == (False, None)
    assert done.why == (
        "@best was changed meanwhile: it is one/baseline now, by me@there; give the command again if you "
        "still want it"
    )
    assert home.read(key) == record


@pytest.mark.parametrize("ignores", [True, False])
def test_a_service_without_conditional_writes_is_refused(
    ignores: bool, bucket: str, relay: StartRelay
) -> None:
    home = open_store(f"s3://{bucket}/x")
    model = AliasedModel(run="one", stage="baseline", ref=home.put("model", b"some"))
    home.write(MARKER, MARKER_CONTENT)
    if ignores:
        relay().dropped = {"if-none-match"}
    else:
        relay(lambda name: (501, "NotImplemented") if name.startswith("PUT") else None)
    with pytest.raises(StoreError, match="conditional writes") as refused:
        append(History.of(home, "best"), "promoted", model)
    assert "\n" not in str(refused.value)
    assert list(home.keys("aliases")) == []


def test_back_returns_to_the_models_before(tmp_path: Path) -> None:
    store = str(tmp_path)
    runs_with_models(tmp_path, "one", "two", "three")
    for run in ("one", "two", "three"):
        promote(store, f"{run}/baseline", "best", why=f"{run} is better", by="me")
    assert look_up(store, "@best").address == "three/baseline"
    assert go_back(store, "best").was == AliasedModel.model_validate(
        {"run": "three", "stage": "baseline", "ref": look_up(store, "three/baseline").ref}
    )
    assert find_run(store, "@best").run == "two"
    assert str(go_back(store, "@best", why="too slow").model) == "one/baseline"
    with pytest.raises(BadInput, match="no model is known before one/baseline"):
        go_back(store, "best")
    promote(store, "@best", "steady")
    assert look_up(store, "@steady").address == "one/baseline"
    last = read_alias(open_store(store), "best")
    assert (last.number, last.action, last.why, last.before) == (5, "returned", "too slow", None)
    assert last.by.count("@") == 1


@pytest.mark.parametrize("harm", ["", "{}", "half", "another alias's", "missing"])
def test_a_damaged_record_is_named_and_mended(harm: str, tmp_path: Path) -> None:
    store = str(tmp_path)
    runs_with_models(tmp_path, "one", "two")
    for alias in ("best", "steady"):
        for run in ("one", "two"):
            promote(store, f"{run}/baseline", alias)
    record = tmp_path / "aliases/best/00000002.json"
    whole = record.read_text()
    if harm == "missing":
        record.rename(tmp_path / "aliases/best/00000004.json")
    elif harm == "another alias's":
        record.write_bytes((tmp_path / "aliases/steady/00000002.json").read_bytes())
    else:
        record.write_text(whole[: len(whole) // 2] if harm == "half" else harm)
    for use in (
        lambda: look_up(store, "@best"),
        lambda: collect(store),  # what it names is unknown
    ):
        with pytest.raises(BadInput, match=r"alias @best: its last record .* is damaged") as caught:
            use()
        assert "\n" not in str(caught.value)
    named = [each.key for each in check_all(store) if each.fault]
    lost = ["aliases/best/00000002.json"] if harm == "missing" else []
    last = f"aliases/best/0000000{4 if lost else 2}.json"
    assert named == [*lost, last]
    assert str(go_back(store, "best").model) == "one/baseline"
    assert look_up(store, "@best").address == "one/baseline"
    promote(store, "two/baseline", "best")
    assert look_up(store, "@best").address == "two/baseline"
    assert str(go_back(store, "best").model) == "one/baseline"


def test_what_an_alias_names_and_named_before_stays(tmp_path: Path, relevo: Relevo) -> None:
    store, now = str(tmp_path), datetime.now(UTC) + timedelta(days=40)
    runs_with_models(tmp_path, "one", "two", "three", "four")
    for run in ("one", "two", "three"):
        promote(store, f"{run}/baseline", "best")
    make_old(tmp_path, 30)
    found = relevo("gc", "--keep-last", "0", "--dry-run", "--store", store)
    assert "keeps the run three, of @best" in found.out
    sweep = collect(store, keep_last=0, now=now)
    assert sweep.in_use == {"two": ["best"], "three": ["best"]}
    assert sorted(run_names(store)) == ["three", "two"]
    assert find_model(store, "@best")
    go_back(store, "best")
    assert find_model(store, "@best")
    assert [each.fault for each in check_all(store) if each.fault] == []
    with pytest.raises(BadInput, match=r"the model before, one/baseline, can.t be used: .*promote"):
        go_back(store, "best")
    # A run that a person has removed leaves the model.
    for path in sorted((tmp_path / "runs/two").rglob("*"), reverse=True):
        path.unlink()
    make_old(tmp_path, 30)
    collect(store, keep_last=0, now=now)
    assert find_model(store, "@best")


def test_a_recipe_that_starts_from_an_alias_names_the_model(tmp_path: Path) -> None:
    store = str(tmp_path)
    (ref,) = runs_with_models(tmp_path, "one")
    promote(store, "one/baseline", "best")
    text = '[data]\nsource = "digits"\nimage_size = 16\n[stages.next]\nstart = "@best"\ntrain = "head"\n'
    stage = parse_recipe(text, "mine", {}, models_in(store)).stages["next"]
    assert (stage.start, stage.sha256, stage.parent) == ("one/baseline", ref.sha256, None)
    request = RunRequest("mine", store, own_recipe=text).pinned()
    assert request.command().endswith("--set stages.next.start=one/baseline")
    with pytest.raises(BadInput, match=r"stages.next.start = '@bets': alias @bets is not there"):
        parse_recipe(text.replace("@best", "@bets"), "mine", {}, models_in(store))


def test_an_alias_is_a_plain_name(tmp_path: Path) -> None:
    assert alias_name("best-2_b") == alias_name("@best-2_b") == "best-2_b"
    for given in ("", "@", "Best", "../x", "a/b", "a b", "1st", "latest", "a" * 41, "b\n", "ä"):
        with pytest.raises(BadInput, match="expected 1 to 40 small letters"):
            alias_name(given)
    with pytest.raises(BadInput, match=r"@best is not there; the store has none yet"):
        look_up(str(tmp_path), "@best")
    runs_with_models(tmp_path, "one")
    promote(str(tmp_path), "one/baseline", "best")
    with pytest.raises(BadInput, match=r"alias @bets is not there; known: @best$"):
        look_up(str(tmp_path), "@bets")
    (tmp_path / "models" / look_up(str(tmp_path), "@best").ref.uri.split("/")[1]).unlink()
    with pytest.raises(BadInput, match=r"model @best is one/baseline: .*promote another model$"):
        look_up(str(tmp_path), "@best")
