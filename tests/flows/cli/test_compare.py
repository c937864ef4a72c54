"""`relevo compare`, `runs` and `show` on real runs: differences, noise, and what can't be compared."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.command import SMALL, Chain, Relevo

# Another seed for all, and three times the epochs for ten classes: the one difference to be found.
OTHER = ["--seed", "1", "--set=stages.ten_class.epochs=9"]


@pytest.fixture(scope="module")
def two(
    chain: Chain, relevo: Relevo, server: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, list[str]]:
    """A copy of the chain's store, and in it the names of four runs, the chain's first and second first."""
    store = str(tmp_path_factory.mktemp("compare") / "store")
    shutil.copytree(chain.store, store)
    words = ["run", "digits", "--store", store, "--json", *SMALL]
    server_here = {"PREFECT_API_URL": server}
    stages = ["--stage", "baseline", "--stage", "ten_class"]
    third = relevo(*words, *OTHER, *stages, env=server_here).json["run"]
    cut = ["--set=data.validation=0.2", "--stage", "baseline"]
    fourth = relevo(*words, *cut, env=server_here).json["run"]
    return store, [chain.first.json["run"], chain.second.json["run"], third, fourth]


def test_compare_separates_difference_from_noise(
    two: tuple[str, list[str]], relevo: Relevo
) -> None:
    store, (first, second, third, fourth) = two
    found = relevo("compare", first, second, third, fourth, "--store", store, "--json").json
    assert found["runs"] == [first, second, third, fourth]
    again, other, cut = found["comparisons"]
    assert {row["verdict"] for row in again["stages"].values()} == {"same model"}

    ten = other["stages"]["ten_class"]
    assert ten["verdict"] == "better"
    assert ten["difference"] == pytest.approx(ten["accuracies"][1] - ten["accuracies"][0])
    assert ten["interval"][0] > 0
    assert ten["p"] <= ten["p_holm"] < 0.05
    assert ten["images"] == 360
    baseline = other["stages"]["baseline"]
    low, high = baseline["interval"]
    assert (baseline["verdict"] == "noise") == (low <= 0 <= high or baseline["p_holm"] >= 0.05)
    missing = other["stages"]["ten_class_from_baseline"]
    assert missing["verdict"] == "not comparable"
    assert missing["reason"] == f"only in {first}"
    assert missing["accuracies"][1] is None
    assert cut["stages"]["baseline"]["reason"] == "other data"


def test_tables_fit_80_columns(two: tuple[str, list[str]], relevo: Relevo) -> None:
    store, names = two
    narrow = {"COLUMNS": "80"}
    output = relevo("compare", *names[:1], *names[2:], "--store", store, env=narrow).out
    assert "\x1b" not in output, "no colours where no terminal is"
    assert max(map(len, output.splitlines())) <= 80, output
    assert f"B: {names[2]}" in output
    rows = {line.split()[0]: line for line in output.splitlines() if line.strip()}
    assert "only in A" in rows["ten_class_from_baseline"]
    assert "better" in output
    listed = relevo("runs", "--store", store, env=narrow).out
    assert max(map(len, listed.splitlines())) <= 80, listed
    assert all(f"{name} " in listed for name in names)
    shown = relevo("show", names[0], "--store", store, env=narrow).out
    lines = [line for line in shown.splitlines() if not line.startswith("report:")]
    assert max(map(len, lines)) <= 80, shown
    assert "scratch" in lines[1]
    assert "seed 0" in lines[0]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["latest"], "expected two different runs or more"),
        (["latest", "latest"], "expected two different runs or more"),
        (["latest", "yesterday"], "'yesterday' is not there"),
        ([], "RUN"),
    ],
)
def test_compare_refuses_bad_input_in_one_line(
    chain: Chain, relevo: Relevo, words: list[str], expected: str
) -> None:
    done = relevo("compare", *words, "--store", str(chain.store))
    assert done.status == 2
    assert done.out == ""
    assert len(done.err.splitlines()) == 1
    assert expected in done.err


def test_compare_reports_missing_scores(
    two: tuple[str, list[str]], relevo: Relevo, tmp_path: Path
) -> None:
    store, (first, _, third, _) = two
    shutil.copytree(store, tmp_path / "s")
    for path in (tmp_path / "s" / "evaluations").glob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-1])
    done = relevo("compare", first, third, "--store", str(tmp_path / "s"))
    assert done.status == 2
    assert "run its recipe again" in done.err
    assert len(done.err.splitlines()) == 1
