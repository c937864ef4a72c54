"""The key changes with what can change a result and with nothing else; a record is only plain JSON."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prefect.states import Failed
from prefect.task_engine import TaskRunTimeoutError
from support.cards import bare_card
from support.command import ROOT
from support.mutations import mutations
from support.stores import make_old, mark

from flows.recipes.load import load_recipe
from tasks.cache.cache import Cache, Hit, record_key
from tasks.cache.cached_task import is_transient
from tasks.cache.check_keys import checking_files, checking_images, checking_labels
from tasks.cache.code import imports_of
from tasks.cache.history import History
from tasks.cache.keys import (
    evaluation,
    exporting,
    featuring,
    fine_tuning,
    head_training,
    preparation,
    training,
)
from tasks.cache.records import Work, read_record
from tasks.io.documents import as_json, seal
from tasks.runs.gc import collect
from tasks.runs.verify import check_all
from tasks.store.base import Ref, Unavailable, sha256_of
from tasks.train import train
from tasks.vision.data.batches.targets import Targets
from tasks.vision.data.sources import find_source, fingerprint
from tasks.vision.device import find_device
from tasks.vision.errors import BadInput
from tasks.vision.recipe.data import Data
from tasks.vision.recipe.resources import RESOURCES
from tasks.vision.recipe.schema import Network, Stage
from tasks.vision.trained_model import Architecture


def code_digest_in(tree: Path) -> str:
    code = "from tasks.cache.code import code_digests; print(code_digests('tasks.vision.training.stage'))"
    answer = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tree,
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/usr/bin:/bin", "PREFECT_HOME": str(tree / "home")},
    )
    return answer.stdout.strip()


def test_the_source_that_a_stage_runs_is_in_its_key(tmp_path: Path) -> None:
    tree = tmp_path / "copy"
    for room in ("flows", "tasks"):
        shutil.copytree(ROOT / room, tree / room)
    before = code_digest_in(tree)
    moved = tmp_path / "elsewhere"
    shutil.copytree(tree, moved)
    assert code_digest_in(moved) == before, "another folder is no other code"

    report = tree / "tasks/vision/figures/curves.py"
    report.write_text(report.read_text() + "\n# no training runs this\n")
    assert code_digest_in(tree) == before

    augment = tree / "tasks/vision/data/batches/augment.py"  # reached through loop, not directly
    augment.write_text(augment.read_text().replace("size + 1", "size + 1 ") + "\nX = 1\n")
    assert code_digest_in(tree) != before


KEYS_IN_THREADS = """
import ast, gc, sys, threading, time
from pathlib import Path
from tasks.cache.code import code_digests

end = time.monotonic() + float(sys.argv[1])
expected, failed = code_digests("tasks.vision.training.stage"), []

def make():
    while time.monotonic() < end:
        try:
            assert code_digests.__wrapped__("tasks.vision.training.stage") == expected
        except BaseException as error:
            failed.append(repr(error))

def parse():
    text = Path("tasks/cache/keys.py").read_text()
    while time.monotonic() < end:
        try:
            ast.parse(text)
        except SystemError:
            pass

gc.callbacks.append(lambda phase, info: time.sleep(0))  # lets another thread run
gc.set_threshold(1)
threads = [threading.Thread(target=work) for work in (make, make, make, parse)]
[each.start() for each in threads]
[each.join() for each in threads]
print(failed[:3])
"""


def test_keys_are_made_while_other_threads_parse_under_garbage_collection() -> None:
    """CPython before 3.11.8 fails then in `ast.parse` (python/cpython#106905)."""
    command = [sys.executable, "-c", KEYS_IN_THREADS, "4"]
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=env)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_keys_follow_every_import_that_the_source_has() -> None:
    """Also one inside a function, of several names, or under a condition, as its syntax tree shows."""
    for path in sorted((ROOT / "tasks").rglob("*.py")):
        tree = ast.walk(ast.parse(path.read_text("utf-8")))
        written: set[tuple[str, str]] = set()
        for node in tree:
            if isinstance(node, ast.Import):
                written |= {(alias.name, "") for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                written |= {(str(node.module), alias.name) for alias in node.names}
        found = {(m, name) for m, names in imports_of(path) for name in names or ("",)}
        assert found == written, path


REF = Ref(kind="dataset", uri="datasets/x", sha256="0" * 64, size=1, digest="0" * 64)
TARGETS = Targets(["a", "b"], [["a"], ["b"]], True, {})
CACHED = {
    "train": lambda: training(Stage(), TARGETS, REF, None, 0),
    "features": lambda: featuring("sha256:0", "0", "last layer"),
    "train_head": lambda: head_training(Stage(), TARGETS, REF, featuring("", "0", "last layer"), 0),
    "fine_tune": lambda: fine_tuning(
        Stage(),
        TARGETS,
        head_training(Stage(), TARGETS, REF, featuring("", "0", "last layer"), 0),
        0,
    ),
    "evaluate": lambda: evaluation(REF, REF),
    "prepare": lambda: preparation(Data(source="digits"), fingerprint(find_source("digits"))),
    "check_files": lambda: checking_files("0", 32),
    "check_images": lambda: checking_images(REF),
    "check_labels": lambda: checking_labels(REF, REF, REF, None),
    "check_labels out of fold": lambda: checking_labels(REF, REF, REF, REF),
}
# What a task uses of these doesn't affect its result, or is in the key separately.
BESIDE = {
    # The settings of a control are in the key.
    "train": {"tasks.vision.device", "tasks.vision.recipe.controls"},
    # The digest of a network covers its random weights; the other task has only its card to write.
    "features": {
        "tasks.vision.device",
        "tasks.vision.pretrained.graph.random_weights",
        "tasks.vision.data.batches.sample",  # in the key where a sample is enough, with its rows
    },
    "train_head": {"tasks.vision.device", "tasks.vision.recipe.controls"},
    "fine_tune": {"tasks.vision.device"},
    "evaluate": set(),
    # They refuse classes early.
    "prepare": {"tasks.vision.data.cifar10", "tasks.vision.data.batches.targets"},
    "check_files": {"tasks.vision.data.dataset"},
    "check_images": {"tasks.vision.device"},
    # Labels are judged in one of two ways.
    "check_labels": {"tasks.vision.check.out_of_fold", "tasks.vision.check.whole"},
    "check_labels out of fold": {"tasks.vision.check.held_out"},
}


@pytest.mark.parametrize("task", CACHED)
def test_all_that_a_task_computes_with_is_in_its_key(task: str) -> None:
    """A task only fetches, calls and publishes; what it calls is named in the key's code."""
    # A process of its own trains, too, where several machines do.
    name = "io/training" if task == "train" else task.partition(" ")[0]
    tree = ast.parse((ROOT / f"tasks/{name}.py").read_text())
    called = {
        node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("tasks.vision.")
    }
    read = {"tasks.vision.data.dataset"} if task != "prepare" else set()
    code = CACHED[task]().ingredients["code"]
    assert (called | read) - BESIDE[task] <= set(code)
    assert not {name for name in code if not name.startswith("tasks.vision")}


# What only validates, stores, opens files or limits threads; tests hold their behaviour, whichever version.
IDLE = {"filelock", "pydantic", "safetensors", "threadpoolctl"}
PACKAGES = {"PIL": "pillow", "pillow_heif": "pillow-heif", "sklearn": "scikit-learn"}


@pytest.mark.parametrize("task", CACHED)
def test_every_library_that_a_task_computes_with_is_in_its_key(task: str) -> None:
    ingredients = CACHED[task]().ingredients
    modules = [ROOT / f"{name.replace('.', '/')}.py" for name in ingredients["code"]]
    used = {
        module.split(".")[0] for path in modules if path.is_file() for module, _ in imports_of(path)
    }
    used -= {*sys.stdlib_module_names, "tasks"}
    # Where no image is decoded or resized.
    idle = IDLE if task in {"prepare", "train", "fine_tune"} else {*IDLE, "pillow"}
    assert {PACKAGES.get(name, name) for name in used} - idle <= set(ingredients["versions"])


def test_arithmetic_without_onednn_has_a_key_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {}
    for setting in ("1", "0"):
        monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", setting)
        keys[setting] = [CACHED[task]().key for task in ("train", "evaluate", "prepare")]
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS")
    assert keys["1"] == [CACHED[task]().key for task in ("train", "evaluate", "prepare")]
    if find_device().kind == "cpu":
        same = [a == b for a, b in zip(keys["1"], keys["0"], strict=True)]
        assert same == [False, False, True], "images are decoded without TensorFlow"


def test_an_edit_to_the_training_loop_scores_and_exports_nothing_again() -> None:
    built = Architecture(network=Network(), image_size=32, outputs=1, mean=(0, 0, 0), std=(1, 1, 1))
    card = bare_card(built, ["a", "b"], [["a"], ["b"]])
    for work in (evaluation(REF, REF), exporting(REF, card)):
        assert not {name for name in work.ingredients["code"] if ".training." in name}


def test_a_time_limit_is_not_worth_a_retry() -> None:
    def after(error: Exception) -> bool:
        return is_transient(train, None, Failed(data=error))

    assert after(ConnectionError("no network"))
    assert after(Unavailable("the bucket is slow"))
    assert not after(TaskRunTimeoutError("4 minutes"))
    assert not after(BadInput("no such folder"))


def test_a_heads_key_holds_whether_its_answers_may_be_mirrored() -> None:
    head = Stage(start="x", train="head")
    assert head.model_copy(update={"flip": False}).settings_in_key() != head.settings_in_key()


def test_a_stages_key_forgets_names_and_limits_of_time() -> None:
    stage = load_recipe("digits").stages["transfer"]
    elsewhere = {"pool": "big", "gpu": 2, "memory": "64Gi", "timeout_minutes": 5}
    renamed = stage.model_copy(update={"start": "other", "labels": "x", **elsewhere})
    assert renamed.settings_in_key() == stage.settings_in_key()
    assert stage.model_copy(update={"epochs": 99}).settings_in_key() != stage.settings_in_key()
    # Only 'head then all' has a phase of the head's own.
    assert stage.model_copy(update={"head_epochs": 99}).settings_in_key() == stage.settings_in_key()
    everything = load_recipe("digits").stages["ten_class"]
    assert (
        everything.model_copy(update={"head_epochs": 99}).settings_in_key()
        == everything.settings_in_key()
    )
    assert (
        everything.model_copy(update={"epochs": 99}).settings_in_key()
        != everything.settings_in_key()
    )


def test_every_setting_of_a_stage_is_in_some_key_or_is_known_to_be_idle() -> None:
    both = Stage(start="x", train="head then all").settings_in_key()
    head, scratch = Stage(start="x", train="head").settings_in_key(), Stage().settings_in_key()
    idle = {"start", "weights", "sha256", "labels", "controls", *RESOURCES}
    assert set(both) | set(head) | set(scratch) | idle == set(Stage.model_fields)


def test_a_key_is_a_function_of_the_ingredients() -> None:
    assert Work("t", {"a": 1, "b": 2}).key == Work("t", {"b": 2, "a": 1}).key
    assert Work("t", {"a": 1}).key != Work("t", {"a": 2}).key
    assert Work("t", {"a": 1}).key != Work("u", {"a": 1}).key


leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
ingredients = st.dictionaries(
    st.text(max_size=5),
    st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
        max_leaves=8,
    ),
    max_size=4,
)


@settings(deadline=None)
@given(ingredients, ingredients)
def test_two_keys_are_equal_where_the_ingredients_are(a: dict, b: dict) -> None:
    same = json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)
    assert (Work("t", a).key == Work("t", b).key) == same
    turned = dict(reversed(a.items()))
    assert Work("t", turned).key == Work("t", a).key
    assert re.fullmatch("t-[0-9a-f]{64}", Work("t", a).key)
    for name in a:
        without = {key: value for key, value in a.items() if key != name}
        assert Work("t", without).key != Work("t", a).key


WORK = Work("train", {"seed": 1})
GOOD: dict[str, Any] = {
    "ref": {
        "kind": "model",
        "uri": "models/x",
        "sha256": "0" * 64,
        "size": 1,
        "digest": "0" * 64,
        "made_from": [],
    },
    "ingredients": WORK.ingredients,
}


def sealed(document: dict[str, Any]) -> bytes:
    """A document with its hash, as an attacker could make it, too."""
    digest, _ = sha256_of(json.dumps(document, sort_keys=True).encode())
    return as_json({**document, "sha256": digest})


def test_a_record_comes_back_and_no_changed_byte_passes() -> None:
    content = sealed(GOOD)
    record = read_record(WORK.key, content)
    assert record.ref.uri == "models/x"
    assert seal(record) == content
    for place in range(len(content)):
        flipped = bytearray(content)
        flipped[place] ^= 1
        with pytest.raises(ValueError, match=r"."):
            read_record(WORK.key, bytes(flipped))


def test_another_works_record_is_none() -> None:
    with pytest.raises(ValueError, match="belongs to another key"):
        read_record(Work("train", {"seed": 2}).key, sealed(GOOD))


@pytest.mark.parametrize(
    "change",
    [
        {"serializer": {"type": "pickle"}},
        {"metadata": {"serializer": {"type": "json", "object_decoder": "os.system"}}},
        {"data": "gASVIAAAAAAAAACMBXBvc2l4lIwGc3lzdGVtlJOUjAV0b3VjaJSFlFKULg=="},
        {"result": "gASVIAAAAAAAAACMBXBvc2l4lIwGc3lzdGVtlJOUjAV0b3VjaJSFlFKULg=="},
        {"ref": {**GOOD["ref"], "uri": "../../etc/passwd"}},
        {"ref": {**GOOD["ref"], "uri": "/etc/passwd"}},
        {"ref": {**GOOD["ref"], "size": -1}},
        {"ref": {**GOOD["ref"], "size": "1"}},
        {"ref": {**GOOD["ref"], "more": 2}},
        {"ref": None},
    ],
)
def test_anything_else_is_no_record(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_record(WORK.key, sealed({**GOOD, **change}))


@settings(
    max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_run_plan_verify_and_gc_agree_on_what_a_hit_is(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """On mutated records, and on results that are gone or cut: four users of one rule."""
    folder = tmp_path_factory.mktemp("store")
    home = mark(folder)
    ref, cache = home.put("model", b"weights"), Cache(home)
    cache.record(WORK, ref)
    record, result = folder / record_key(WORK), folder / ref.uri
    match data.draw(st.sampled_from(["record", "record", "record", "gone", "cut", "none"])):
        case "record":
            record.write_bytes(data.draw(mutations(record.read_bytes())))
        case "gone":
            result.unlink()
        case "cut":
            result.write_bytes(b"weigh")
    hit = isinstance(cache.lookup(WORK), Hit)
    assert (History(str(folder)).lookup(WORK)[0] == ref) == hit
    assert all(not each.fault for each in check_all(str(folder))) == hit
    if result.exists() and result.read_bytes() == b"weights":
        # An old result stays where a record points to it, and is garbage where none does.
        make_old(folder, 40, ref.uri)
        collect(str(folder))
        assert result.exists() == hit
