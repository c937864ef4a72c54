"""`relevo watch` and the flow `watch` start the chain on new data, here and on a fleet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.command import Relevo, in_one_process
from support.images import labelled_pngs

RECIPE = """
name = "blobs"
[data]
source = "photos"
image_size = 16
[stages.baseline]
epochs = 1
network = { widths = [8] }
"""


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Forty pictures of noise in two classes, and a recipe beside them."""
    add(tmp_path / "photos", labelled_pngs([""], ["cat", "dog"], 20))
    (tmp_path / "blobs.toml").write_text(RECIPE)
    return tmp_path / "photos"


def add(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def test_watch_starts_the_chain_when_data_has_changed(
    relevo: Relevo, server: str, photos: Path
) -> None:
    recipe, store = str(photos.with_name("blobs.toml")), str(photos.with_name("store"))
    words = ["watch", recipe, "--data", str(photos), "--store", store, "--json"]
    env = {"PREFECT_API_URL": server}
    settling = relevo(*words).json
    assert settling["decision"] == "settling"
    words += ["--settle", "0s"]
    first = relevo(*words, env=env).json
    assert (first["decision"], first["added"]) == ("start", 40)
    assert relevo("show", first["run"], "--store", store, "--json").json["recipe"] == "blobs"
    assert relevo(*words).json["decision"] == "unchanged"
    add(
        photos,
        {
            f"cat/new-{i}.png": content
            for i, content in enumerate(labelled_pngs([""], "x", 3).values())
        },
    )
    few = relevo(*words[:-3], "--settle", "0s", "--at-least", "4")
    assert few.status == 0
    assert few.out.endswith("starts no run: 3 changed; a run starts at 4 (4)\n")
    assert "since the last run 3 new (cat 3), 0 removed, 0 written to" in few.out
    second = relevo(*words, env=env).json
    assert (second["decision"], second["folders"]) == ("start", {"cat": 3})
    names = relevo("runs", "--store", store, "--json").json["runs"]
    assert len(names) == 2


def test_on_a_fleet_two_watchers_send_one_run(server: str, photos: Path) -> None:
    from prefect.client.orchestration import get_client
    from prefect.deployments.runner import RunnerDeployment

    from flows.watch import watch

    deployment: Any = RunnerDeployment.from_entrypoint(
        "flows.experiment.experiment", name="on-demand"
    )
    given: dict[str, Any] = {
        "data": str(photos),
        "own_recipe": RECIPE,
        "store": str(photos.with_name("store")),
        "settle_minutes": 0,
        "dispatch": "workers",
    }
    with get_client(sync_client=True) as client:
        made = deployment.apply()
        before = {each.id for each in client.read_flow_runs()}  # of other tests on this server
        first, second = watch(**given), watch(**given)
        assert (first.decision, second.decision) == ("start", "running")
        found = [each for each in client.read_flow_runs() if each.deployment_id == made]
        sent = [each for each in found if each.id not in before]
        assert [each.name for each in sent] == [first.run]
        assert sent[0].parameters["run"] == first.run
        assert sent[0].parameters["dispatch"] == "workers"
        client.delete_deployment(made)


BAD = {
    "built_in": (["watch", "digits"], "data 'digits' never changes"),
    "nowhere": (["watch", "nowhere"], "data 'nowhere' isn't there"),
    "no_recipe": (["watch", "nowhere.toml"], "recipe 'nowhere.toml' is not there"),
    "both": (["watch", "nowhere", "--data", "else"], "is no recipe"),
    "few": (["watch", "photos", "--at-least", "some"], "expected a number of files or a share"),
    "settle": (["watch", "photos", "--settle", "10"], "expected a number and s, m, h, d or w"),
    "stage": (["watch", "photos", "--stage", "some"], "stage 'some'"),
}


def test_watch_refuses_bad_input_in_one_line(tmp_path: Path, prefect_home: Path) -> None:
    done = in_one_process({case: words for case, (words, _) in BAD.items()}, tmp_path, prefect_home)
    for case, (_, line) in BAD.items():
        assert (done[case].status, done[case].out) == (2, ""), case
        assert done[case].err.count("\n") == 1, done[case].err
        assert line in done[case].err
        assert not (tmp_path / case).exists()
