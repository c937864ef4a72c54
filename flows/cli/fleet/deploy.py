"""`relevo deploy`: apply the pools, limits, deployments and automations in deployments/ to a Prefect server.

Idempotent: a second call changes what differs from the files and creates no duplicates.
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
from pydantic import ValidationError

from flows.cli.fleet.deploy_files import (
    ListedDeployment,
    find_folder,
    read_automation,
    read_deployments,
)
from flows.cli.fleet.deploy_pools import (
    CONTROLS_PRIORITY,
    add_pool,
    apply_pool,
    apply_queue,
    check_pool_name,
)
from flows.cli.prefect_server.server import quiet_prefect
from flows.dispatch.open_server import open_server_warning
from flows.dispatch.pools import CONTROLS, CPU, EXPERIMENTS, GPU, RESUME
from tasks.vision.errors import BadInput

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.responses import DeploymentResponse
    from prefect.events.schemas.automations import AutomationCore

POOLS = {
    CPU: "data, reports, and flows that dispatch stages",
    GPU: "one training per GPU",
}
LAUNCHER = Path(__file__).parents[2] / "launcher.py"  # runs Prefect where it finds our modules
# Pool and priority of each queue; prefect.yaml says which flow goes where. Experiments mostly wait for their
# stages: without a limit, one worker would begin all that are ordered at once. No stage waits for a control.
QUEUES = {
    RESUME: (CPU, 1),
    EXPERIMENTS: (CPU, 2),
    CONTROLS: (GPU, CONTROLS_PRIORITY),
}
WEBHOOK = "relevo-notify"
TAG = "relevo"  # marks this project's deployments


def deploy(
    *,
    gpus: Annotated[int, Parameter(negative="")] = 1,
    experiments: Annotated[int, Parameter(negative="")] = 4,
    pool: list[str] | None = None,
    notify: str | None = None,
    files: Path | None = None,
) -> int:
    """Create or update pools, deployments, schedules and automations on the server of PREFECT_API_URL.

    Example: relevo deploy --gpus 4 --notify https://chat.example/hook

    Parameters
    ----------
    gpus
        How many stages may train at the same time, on all workers together.
    experiments
        How many experiments may run at the same time; others wait. Start workers of relevo-cpu with room
        for two more, so that crashed runs are resumed and garbage is collected meanwhile.
    pool
        A further work pool, for stages whose recipe names it; may be repeated. One that exists, such as of
        type kubernetes, stays as it is.
    notify
        URL of a webhook that receives a line of JSON when a run fails, crashes or is late. Without it,
        notifications are switched off.
    files
        Folder with prefect.yaml and automations/ to use in place of the project's deployments/.
    """
    if gpus < 1:
        raise BadInput(f"--gpus {gpus}: expected 1 or more")
    if experiments < 1:
        raise BadInput(f"--experiments {experiments}: expected 1 or more")
    for name in pool or []:
        check_pool_name("--pool", name)
    if notify and not notify.startswith(("http://", "https://")):
        raise BadInput(f"--notify {notify!r}: expected a URL, https://...")
    folder = find_folder(files)
    deployments = read_deployments(folder / "prefect.yaml")
    automations = [
        read_automation(path) for path in sorted((folder / "automations").glob("*.y*ml"))
    ]
    with quiet_prefect(own_server=False):
        from prefect.client.orchestration import get_client
        from prefect.settings import get_current_settings

        with get_client(sync_client=True) as client:
            for own, about in POOLS.items():
                apply_pool(client, own, about, gpus if own == GPU else None)
            for queue, (own, priority) in QUEUES.items():
                limit = experiments if queue == EXPERIMENTS else None
                apply_queue(client, queue, own, priority, limit)
            before = _schedules(_deployed(client, deployments))
            _prefect_deploy(folder / "prefect.yaml")
            added = [name for each in pool or [] for name in add_pool(client, each)]
            _delete_unlisted_schedules(client, deployments)
            unscheduled = before - _schedules(_deployed(client, deployments))
            block = _save_webhook(notify) if notify else None
            wanted = [each for each in automations if notify or not _notifies(each)]
            for each in wanted:
                _apply_automation(client, _resolve(client, each, block))
            unwanted = [each["name"] for each in automations if each not in wanted]
            removed = [name for name in unwanted if _delete_automations(client, name)]
    trainings = "one training" if gpus == 1 else f"{gpus} trainings"
    print(f"pools {', '.join([*POOLS, *(pool or [])])}; at most {trainings} at a time")
    print(f"deployments {', '.join([*(each.full_name for each in deployments), *added])}")
    print(f"automations {', '.join(each['name'] for each in wanted)}")
    for name, schedule in unscheduled.elements():
        print(f"schedule removed: {name}, {schedule}")
    for name in removed:
        print(f"automation removed: {name}")
    if warning := open_server_warning(get_current_settings().api.url):
        print(f"relevo: {warning}", file=sys.stderr)
    if not notify:
        print("notifications are off; switch them on with --notify URL")
    return 0


def _prefect_deploy(path: Path) -> None:
    """Run `prefect deploy`, since Prefect offers no function that deploys a whole prefect.yaml."""
    command = [sys.executable, "-P", str(LAUNCHER), "prefect", "--no-prompt", "deploy", "--all"]
    done = subprocess.run(
        [*command, "--prefect-file", str(path)],
        capture_output=True,
        text=True,
        check=False,
        # Prefect wraps its messages to the terminal's width.
        env={**os.environ, "COLUMNS": "1000", "PREFECT_LOGGING_LEVEL": "ERROR"},
    )
    if done.returncode:
        output = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()
        raise RuntimeError(f"prefect deploy failed: {output[-1].strip()}")


def _deployed(
    client: SyncPrefectClient, listed: list[ListedDeployment]
) -> dict[str, DeploymentResponse]:
    """The server's deployments that are listed or carry our tag, by FLOW/DEPLOYMENT."""
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags
    from prefect.exceptions import ObjectNotFound

    tagged = DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG]))
    found = {
        f"{client.read_flow(each.flow_id).name}/{each.name}": each
        for each in client.read_deployments(deployment_filter=tagged)
    }
    for name in (each.full_name for each in listed):
        with suppress(ObjectNotFound):
            found[name] = client.read_deployment_by_name(name)
    return found


def _delete_unlisted_schedules(client: SyncPrefectClient, listed: list[ListedDeployment]) -> None:
    """Delete what `prefect deploy` leaves: schedules of deployments that have none in the file."""
    # Compared by entrypoint, since a flow's name may differ from its function's.
    scheduled = {(each.entrypoint, each.name) for each in listed if each.scheduled}
    for deployment in _deployed(client, listed).values():
        if (deployment.entrypoint, deployment.name) not in scheduled:
            for schedule in deployment.schedules:
                client.delete_deployment_schedule(deployment.id, schedule.id)


def _schedules(deployed: dict[str, DeploymentResponse]) -> Counter[tuple[str, str]]:
    """Count schedules by deployment and rule, such as ("experiment/nightly", "cron 0 2 * * *")."""
    found: Counter[tuple[str, str]] = Counter()
    for name, deployment in deployed.items():
        for each in deployment.schedules:
            rule = each.schedule.model_dump(mode="json")
            kind = next(kind for kind in ("cron", "interval", "rrule") if rule.get(kind))
            found[name, f"{kind} {rule[kind]}"] += 1
    return found


def _save_webhook(url: str) -> str:
    """Save the webhook block that notifications call; return its id."""
    from prefect.blocks.webhook import Webhook

    return str(Webhook(method="POST", url=url).save(WEBHOOK, overwrite=True))


def _notifies(automation: dict[str, Any]) -> bool:
    return any(action["type"] == "call-webhook" for action in automation["actions"])


def _resolve(
    client: SyncPrefectClient, values: dict[str, Any], block: str | None
) -> AutomationCore:
    """An automation with the server's ids of the deployment it runs and the webhook it calls."""
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
        return AutomationCore.model_validate(values)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"]))
        raise BadInput(f"automation {values['name']}: {where}: {fault['msg']}") from None


def _apply_automation(client: SyncPrefectClient, automation: AutomationCore) -> None:
    same = client.read_automations_by_name(automation.name)
    wanted = automation.model_dump()
    if not same:
        client.create_automation(automation)
    # An update makes the server forget which runs the automation watches, so one that is as wanted stays.
    elif same[0].model_dump(include=set(wanted)) != wanted:
        client.update_automation(same[0].id, automation)


def _delete_automations(client: SyncPrefectClient, name: str) -> bool:
    """Delete the automations of a name; return whether there were any."""
    same = client.read_automations_by_name(name)
    for each in same:
        client.delete_automation(each.id)
    return bool(same)
