"""Command: tell a Prefect server of the pools, limits, deployments and automations in deployments/.

Said again, it changes what has changed in the files and doubles nothing.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from flows.local_server import quiet_prefect
from tasks.vision.errors import BadInput

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

POOLS = {
    "relevo-cpu": "data, reports, and whoever sends stages",
    "relevo-gpu": "one training a GPU",
}
WEBHOOK = "relevo-notify"


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
        A webhook that gets one line of JSON when a run fails, is late, or has crashed.
    files
        Another folder of prefect.yaml and automations/ than this project's own deployments/.
    """
    if gpus < 1:
        raise BadInput(f"--gpus {gpus}: expected 1 or more")
    if notify and not notify.startswith(("http://", "https://")):
        raise BadInput(f"--notify {notify!r}: expected a URL, https://...")
    folder = _folder(files)
    with quiet_prefect(own_server=False):
        from prefect.client.orchestration import get_client

        with get_client(sync_client=True) as client:
            for pool, about in POOLS.items():
                _make_pool(client, pool, about, gpus if pool == "relevo-gpu" else None)
            deployments = _read(folder / "prefect.yaml")["deployments"]
            before = _clocks(client, deployments)
            _deploy(folder / "prefect.yaml")
            for each in deployments:
                _drop_schedules(client, each)
            gone = before - _clocks(client, deployments)
            block = _webhook(notify) if notify else None
            made = [
                _automate(client, path, block)
                for path in sorted((folder / "automations").glob("*"))
            ]
    names = ", ".join(_name(each) for each in deployments)
    print(f"pools {', '.join(POOLS)}; at most {gpus} trainings at a time")
    print(f"deployments {names}")
    print(f"automations {', '.join(name for name in made if name)}")
    for name, clock in gone.elements():
        print(f"schedule removed: {name}, {clock}")
    if not notify:
        print("no notifications; name a webhook with --notify")
    return 0


def _folder(given: Path | None) -> Path:
    own = Path(__file__).parents[1] / "deployments"
    tried = [given] if given else [own, Path("deployments")]
    for folder in tried:
        if (folder / "prefect.yaml").is_file():
            return folder.absolute()
    raise BadInput(
        f"{tried[-1]} holds no prefect.yaml; give the project's folder deployments/ as --files"
    )


def _read(path: Path) -> Any:
    import yaml

    try:
        return yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise BadInput(f"{path} can't be read ({reason}); expected YAML") from None


def _make_pool(client: SyncPrefectClient, name: str, about: str, limit: int | None) -> None:
    from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
    from prefect.exceptions import ObjectNotFound

    try:
        client.read_work_pool(name)
    except ObjectNotFound:
        pool = WorkPoolCreate(name=name, type="process", description=about, concurrency_limit=limit)
        client.create_work_pool(pool)
    else:
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
    flow = str(deployment["entrypoint"]).rpartition(".")[2].replace("_", "-")
    return f"{flow}/{deployment['name']}"


def _drop_schedules(client: SyncPrefectClient, deployment: dict[str, Any]) -> None:
    """Prefect replaces schedules by those of the file, but for the last: it leaves that where it is."""
    if not deployment.get("schedules"):
        there = client.read_deployment_by_name(_name(deployment))
        for each in there.schedules:
            client.delete_deployment_schedule(there.id, each.id)


def _clocks(
    client: SyncPrefectClient, deployments: list[dict[str, Any]]
) -> Counter[tuple[str, str]]:
    """How often the server has each schedule, by its deployment and when it fires."""
    from prefect.exceptions import ObjectNotFound

    found: Counter[tuple[str, str]] = Counter()
    for name in map(_name, deployments):
        with suppress(ObjectNotFound):
            for each in client.read_deployment_by_name(name).schedules:
                found[name, _clock(each.schedule.model_dump(mode="json"))] += 1
    return found


def _clock(schedule: dict[str, Any]) -> str:
    """When a schedule fires, in the file's words."""
    return next(
        f"{kind} {schedule[kind]}" for kind in ("cron", "interval", "rrule") if schedule.get(kind)
    )


def _webhook(url: str) -> str:
    from prefect.blocks.webhook import Webhook

    block = Webhook(method="POST", url=url)
    return str(block.save(WEBHOOK, overwrite=True))


def _automate(client: SyncPrefectClient, path: Path, block: str | None) -> str | None:
    """Make or change one automation; one that notifies is left out while there is nobody to notify."""
    from prefect.events.schemas.automations import AutomationCore

    values = _read(path)
    for action in values["actions"]:
        if action["type"] == "call-webhook":
            if block is None:
                return None
            action["block_document_id"] = block
        if action["type"] == "run-deployment":
            name = action["deployment_id"]
            action["deployment_id"] = str(client.read_deployment_by_name(name).id)
    automation = AutomationCore.model_validate(values)
    body = automation.model_dump(mode="json", exclude={"owner_resource"})
    there = client.request("POST", "/automations/filter", json={}).json()
    same = [each["id"] for each in there if each["name"] == automation.name]
    if same:
        client.request("PUT", "/automations/{id}", path_params={"id": same[0]}, json=body)
    else:
        client.request("POST", "/automations/", json=body)
    return automation.name
