"""Command: tell a Prefect server of the pools, limits, deployments and automations in deployments/.

Said again, it changes what has changed in the files and doubles nothing.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from pydantic import ValidationError

from flows.cli.prefect_server import quiet_prefect
from tasks.vision.errors import BadInput

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.responses import DeploymentResponse

POOLS = {
    "relevo-cpu": "data, reports, and whoever sends stages",
    "relevo-gpu": "one training a GPU",
}
WEBHOOK = "relevo-notify"
TAG = "relevo"  # of deployments that are this project's


def deploy(
    *,
    gpus: Annotated[int, Parameter(negative="")] = 1,
    notify: str | None = None,
    files: Path | None = None,
) -> int:
    """Make the work pools, deployments, schedules and automations on the server of PREFECT_API_URL.

    Example: relevo deploy --gpus 4 --notify https://chat.example/hook

    Parameters
    ----------
    gpus
        Stages that may train at a time, all workers together.
    notify
        A webhook that gets one line of JSON when a run fails, is late, or has crashed; left out, nobody
        does any more.
    files
        Another folder of prefect.yaml and automations/ than this project's own deployments/.
    """
    if gpus < 1:
        raise BadInput(f"--gpus {gpus}: expected 1 or more")
    if notify and not notify.startswith(("http://", "https://")):
        raise BadInput(f"--notify {notify!r}: expected a URL, https://...")
    folder = find_folder(files)
    deployments = read_deployments(folder / "prefect.yaml")
    automations = [
        read_automation(path) for path in sorted((folder / "automations").glob("*.y*ml"))
    ]
    with quiet_prefect(own_server=False):
        from prefect.client.orchestration import get_client

        with get_client(sync_client=True) as client:
            for pool, about in POOLS.items():
                _make_pool(client, pool, about, gpus if pool == "relevo-gpu" else None)
            before = _clocks(_known(client, deployments))
            _deploy(folder / "prefect.yaml")
            _drop_schedules(client, deployments)
            gone = before - _clocks(_known(client, deployments))
            block = _webhook(notify) if notify else None
            silent = [each for each in automations if not notify and _calls(each)]
            made = [each for each in automations if each not in silent]
            for each in made:
                _automate(client, each, block)
            muted = [each["name"] for each in silent if _remove(client, each)]
    names = ", ".join(_name(each) for each in deployments)
    print(f"pools {', '.join(POOLS)}; at most {gpus} trainings at a time")
    print(f"deployments {names}")
    print(f"automations {', '.join(each['name'] for each in made)}")
    for name, clock in gone.elements():
        print(f"schedule removed: {name}, {clock}")
    for name in muted:
        print(f"automation removed: {name}")
    if not notify:
        print("no notifications; name a webhook with --notify")
    return 0


def _make_pool(client: SyncPrefectClient, name: str, about: str, limit: int | None) -> None:
    from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
    from prefect.exceptions import ObjectAlreadyExists

    try:
        pool = WorkPoolCreate(name=name, type="process", description=about, concurrency_limit=limit)
        client.create_work_pool(pool)
    except ObjectAlreadyExists:  # or a worker that starts has just made it
        client.update_work_pool(name, WorkPoolUpdate(description=about, concurrency_limit=limit))


def _deploy(path: Path) -> None:
    """Prefect's own command, which knows the file's format best."""
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    done = subprocess.run(
        [*command, "--prefect-file", str(path)],
        capture_output=True,
        text=True,
        check=False,
        # Its messages are wrapped to the terminal's width.
        env={**os.environ, "COLUMNS": "1000", "PREFECT_LOGGING_LEVEL": "ERROR"},
    )
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()
        raise RuntimeError(f"prefect deploy failed: {said[-1].strip()}")


def _name(deployment: dict[str, Any]) -> str:
    flow = re.split("[.:]", str(deployment["entrypoint"]))[-1].replace("_", "-")
    return f"{flow}/{deployment['name']}"


def _known(
    client: SyncPrefectClient, deployments: list[dict[str, Any]]
) -> dict[str, DeploymentResponse]:
    """What the server has of the file's deployments, and of those that the file had in the past."""
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags
    from prefect.exceptions import ObjectNotFound

    tagged = DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG]))
    found = {
        f"{client.read_flow(each.flow_id).name}/{each.name}": each
        for each in client.read_deployments(deployment_filter=tagged)
    }
    for name in map(_name, deployments):
        with suppress(ObjectNotFound):
            found[name] = client.read_deployment_by_name(name)
    return found


def _drop_schedules(client: SyncPrefectClient, deployments: list[dict[str, Any]]) -> None:
    """Prefect replaces a deployment's schedules by those of the file, but leaves them where it has none."""
    # By what the server keeps: a flow's name may be another than its function's.
    timed = {
        (each["entrypoint"], each["name"])
        for each in deployments
        if each.get("schedules") or each.get("schedule")
    }
    for there in _known(client, deployments).values():
        for each in there.schedules if (there.entrypoint, there.name) not in timed else ():
            client.delete_deployment_schedule(there.id, each.id)


def _clocks(known: dict[str, DeploymentResponse]) -> Counter[tuple[str, str]]:
    """How often the server has each schedule, by its deployment and when it fires."""
    return Counter(
        (name, _clock(each.schedule.model_dump(mode="json")))
        for name, there in known.items()
        for each in there.schedules
    )


def _clock(schedule: dict[str, Any]) -> str:
    """When a schedule fires, in the file's words."""
    return next(
        f"{kind} {schedule[kind]}" for kind in ("cron", "interval", "rrule") if schedule.get(kind)
    )


def _webhook(url: str) -> str:
    from prefect.blocks.webhook import Webhook

    block = Webhook(method="POST", url=url)
    return str(block.save(WEBHOOK, overwrite=True))


def _calls(automation: dict[str, Any]) -> bool:
    return any(action["type"] == "call-webhook" for action in automation["actions"])


def _automate(client: SyncPrefectClient, values: dict[str, Any], block: str | None) -> None:
    """Make or change one automation; `block` is the webhook of those that notify."""
    from prefect.events.schemas.automations import AutomationCore
    from prefect.exceptions import ObjectNotFound

    for action in values["actions"]:
        if action["type"] == "call-webhook":
            action["block_document_id"] = block
        if action["type"] == "run-deployment":
            name = str(action.get("deployment_id"))
            try:
                action["deployment_id"] = str(client.read_deployment_by_name(name).id)
            except (ObjectNotFound, ValueError):
                raise BadInput(
                    f"automation {values['name']} runs {name!r}, which prefect.yaml doesn't list"
                ) from None
    try:
        automation = AutomationCore.model_validate(values)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"]))
        raise BadInput(f"automation {values['name']}: {where}: {fault['msg']}") from None
    body = automation.model_dump(mode="json", exclude={"owner_resource"})
    if same := _same(client, values):
        client.request("PUT", "/automations/{id}", path_params={"id": same[0]}, json=body)
    else:
        client.request("POST", "/automations/", json=body)


def _remove(client: SyncPrefectClient, values: dict[str, Any]) -> bool:
    """Remove an automation by its name: was there one?"""
    same = _same(client, values)
    for each in same:
        client.request("DELETE", "/automations/{id}", path_params={"id": each})
    return bool(same)


def _same(client: SyncPrefectClient, values: dict[str, Any]) -> list[str]:
    """The ids of the server's automations of the same name."""
    named = {"automations": {"name": {"any_": [values["name"]]}}}
    there = client.request("POST", "/automations/filter", json=named).json()
    return [each["id"] for each in there]


def find_folder(given: Path | None) -> Path:
    """The folder given, else this project's own, else deployments/ here; `BadInput` without prefect.yaml."""
    own = Path(__file__).parents[2] / "deployments"
    tried = [given] if given else [own, Path("deployments")]
    for folder in tried:
        if (folder / "prefect.yaml").is_file():
            return folder.absolute()
    raise BadInput(
        f"{tried[-1]} holds no prefect.yaml; give the project's folder deployments/ as --files"
    )


def read_deployments(path: Path) -> list[dict[str, Any]]:
    """What prefect.yaml lists; `BadInput` if that is nothing, or lacks what names it."""
    values = _read(path)
    found = values.get("deployments") if isinstance(values, dict) else None
    if not (isinstance(found, list) and found):
        raise BadInput(f"{path} lists no deployments; expected some under the key deployments")
    for each in found:
        if not (isinstance(each, dict) and each.get("name") and each.get("entrypoint")):
            raise BadInput(f"{path}: a deployment lacks its name or its entrypoint; give it both")
    return found


def read_automation(path: Path) -> dict[str, Any]:
    """An automation as its file has it; `BadInput` if it is none."""
    values = _read(path)
    if isinstance(values, dict) and values.get("name") and isinstance(values.get("trigger"), dict):
        actions = values.get("actions")
        if isinstance(actions, list) and all(isinstance(a, dict) and "type" in a for a in actions):
            return values
    raise BadInput(
        f"{path} is no automation; expected its name, trigger and actions, or move it elsewhere"
    )


def _read(path: Path) -> Any:
    import yaml

    try:
        return yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise BadInput(f"{path} can't be read ({reason}); expected YAML") from None
