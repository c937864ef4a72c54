"""A second `relevo deploy` updates the server, and removes schedules and notifications that are gone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from support.command import ROOT, Relevo

pytestmark = pytest.mark.slow


def find(server: str, what: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = httpx.post(f"{server}/{what}/filter", json={}, timeout=60).json()
    return found


def notifying(server: str) -> set[str]:
    return {
        each["name"]
        for each in find(server, "automations")
        for action in each["actions"]
        if action["type"] == "call-webhook"
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of deployments/ that a test may change."""
    return shutil.copytree(ROOT / "deployments", tmp_path / "deployments")


def test_deploy_removes_what_the_files_no_longer_hold(
    relevo: Relevo, server: str, folder: Path
) -> None:
    words, env = ["deploy", "--files", str(folder)], {"PREFECT_API_URL": server}
    done = relevo(*words, "--notify", "http://127.0.0.1:9/hook", env=env)
    assert done.status == 0, done.err
    notifications = ("crashed", "failed", "late", "promotion")
    assert notifying(server) == {f"relevo-{name}" for name in notifications}
    content = yaml.safe_load((folder / "prefect.yaml").read_text())
    content["deployments"] = [d for d in content["deployments"] if d["name"] != "nightly"]
    (folder / "prefect.yaml").write_text(yaml.safe_dump(content))
    (folder / "automations/NOTES.md").write_text("no automation")
    dead = yaml.safe_load((folder / "automations/dead.yaml").read_text())
    dead["trigger"]["within"] = 120
    (folder / "automations/dead.yaml").write_text(yaml.safe_dump(dead))

    done = relevo(*words, env=env)
    assert done.status == 0, done.err
    assert notifying(server) == set()
    assert "automation removed: relevo-failed\n" in done.out
    changed = [e for e in find(server, "automations") if e["name"] == "relevo-dead"]
    assert [each["trigger"]["within"] for each in changed] == [120]
    assert "schedule removed: experiment/nightly, cron 0 2 * * *\n" in done.out
    clocks = [clock for each in find(server, "deployments") for clock in each["schedules"]]
    active = [clock["schedule"]["cron"] for clock in clocks if clock["active"]]
    assert active == ["0 12 * * 0"]

    before = {each["name"]: each["updated"] for each in find(server, "automations")}
    again = relevo(*words, env=env)
    assert again.status == 0, again.err
    assert "removed" not in again.out
    # An update would make the server forget which runs an automation watches.
    assert {each["name"]: each["updated"] for each in find(server, "automations")} == before


def test_deploy_leaves_schedules_of_flows_with_another_name(
    relevo: Relevo, server: str, folder: Path
) -> None:
    (folder / "own.py").write_text(
        "from prefect import flow\n\n\n@flow(name='My thing')\ndef work():\n    pass\n"
    )
    content = yaml.safe_load((folder / "prefect.yaml").read_text())
    like = next(each for each in content["deployments"] if each["name"] == "weekly")
    own = {**like, "name": "own", "entrypoint": "own.work", "parameters": {}}
    own["schedules"] = [{"cron": "0 3 * * *"}]
    once = {key: value for key, value in own.items() if key != "schedules"}
    once |= {"name": "once", "schedule": {"cron": "0 4 * * *"}}
    content["deployments"] += [own, once]
    (folder / "prefect.yaml").write_text(yaml.safe_dump(content))
    env = {"PREFECT_API_URL": server, "PYTHONPATH": f"{ROOT}:{folder}"}
    done = relevo("deploy", "--files", str(folder), env=env)
    assert done.status == 0, done.err
    clocks = {
        each["name"]: [clock["schedule"]["cron"] for clock in each["schedules"]]
        for each in find(server, "deployments")
    }
    assert clocks["own"] == ["0 3 * * *"]
    assert clocks["once"] == ["0 4 * * *"]
    assert "removed" not in done.out


def test_further_pool_has_deployments_and_a_queue_for_controls(relevo: Relevo, server: str) -> None:
    variables = {"type": "object", "properties": {"env": {"type": "object"}}}
    template = {"job_configuration": {"env": "{{ env }}"}, "variables": variables}
    there = {"name": "cluster", "type": "kubernetes", "base_job_template": template}
    httpx.post(f"{server}/work_pools/", json=there, timeout=60).raise_for_status()
    for _ in range(2):
        words = ("deploy", "--pool", "large", "--pool", "cluster")
        done = relevo(*words, env={"PREFECT_API_URL": server})
        assert done.status == 0, done.err
    assert "pools relevo-cpu, relevo-gpu, large, cluster; " in done.out
    assert done.out.count("train-stage/large") == 1
    made = [
        httpx.get(f"{server}/deployments/name/{flow}/{pool}", timeout=60).json()
        for flow in ("train-stage", "sweep-run")
        for pool in ("large", "cluster")
    ]
    assert [each["work_pool_name"] for each in made] == ["large", "cluster"] * 2
    assert {each["job_variables"]["env"]["PYTHONSAFEPATH"] for each in made} == {"1"}
    assert {each["enforce_parameter_schema"] for each in made} == {True}
    queue = httpx.get(f"{server}/work_pools/large/queues/controls", timeout=60).json()
    assert queue["priority"] == 2
    pool = httpx.get(f"{server}/work_pools/cluster", timeout=60).json()
    assert pool["type"] == "kubernetes"


def test_wrong_name_of_a_pool_is_one_line_and_status_2(relevo: Relevo) -> None:
    done = relevo("deploy", "--pool", "a/b")
    assert done.status == 2
    assert "--pool 'a/b': expected a name of at most 60 letters" in done.err


def test_experiments_wait_and_a_crashed_run_goes_first(relevo: Relevo, server: str) -> None:
    done = relevo("deploy", "--experiments", "2", env={"PREFECT_API_URL": server})
    assert done.status == 0, done.err
    flows = {each["id"]: each["name"] for each in find(server, "flows")}
    ids = {
        f"{flows[each['flow_id']]}/{each['name']}": each["id"]
        for each in find(server, "deployments")
    }
    ordered = ["experiment/on-demand"] * 6 + ["resume-crashed/automatic"]
    for name in ordered:
        body = {"state": {"type": "SCHEDULED"}, "enforce_parameter_schema": False}
        url = f"{server}/deployments/{ids[name]}/create_flow_run"
        httpx.post(url, json=body, timeout=60).raise_for_status()
    url = f"{server}/work_pools/relevo-cpu/get_scheduled_flow_runs"
    taken = httpx.post(url, json={}, timeout=60).json()
    names = [flows[each["flow_run"]["flow_id"]] for each in taken]
    assert names == ["resume-crashed", "experiment", "experiment"]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("prefect.yaml", "name: relevo\n", "lists no deployments"),
        ("prefect.yaml", "[]\n", "lists no deployments"),
        ("prefect.yaml", "deployments: [{name: nightly}]\n", "lacks its name or its entrypoint"),
        ("prefect.yaml", "a: [\n", "can't be read"),
        ("automations/failed.yaml", "name: x\n", "failed.yaml is no automation"),
        ("automations/failed.yaml", "", "failed.yaml is no automation"),
    ],
)
def test_deploy_refuses_unusable_files_in_one_line(
    name: str, content: str, expected: str, relevo: Relevo, folder: Path
) -> None:
    """Without a request to the server."""
    (folder / name).write_text(content)
    nowhere = {"PREFECT_API_URL": "http://127.0.0.1:9/api"}
    done = relevo("deploy", "--files", str(folder), env=nowhere)
    assert (done.status, done.out) == (2, ""), done.err
    assert done.err.count("\n") == 1, done.err
    assert expected in done.err
