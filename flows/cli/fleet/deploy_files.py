"""Read deployments/: the deployments of prefect.yaml and the automations beside it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.vision.errors import BadInput


@dataclass(frozen=True)
class ListedDeployment:
    """One deployment of prefect.yaml."""

    name: str
    entrypoint: str
    scheduled: bool

    @property
    def full_name(self) -> str:
        """FLOW/DEPLOYMENT, where the flow is named after its function."""
        flow = re.split("[.:]", self.entrypoint)[-1].replace("_", "-")
        return f"{flow}/{self.name}"


def find_folder(given: Path | None) -> Path:
    """The folder given, or the project's deployments/; `BadInput` if it has no prefect.yaml."""
    own = Path(__file__).parents[3] / "deployments"
    tried = [given] if given else [own, Path("deployments")]
    for folder in tried:
        if (folder / "prefect.yaml").is_file():
            return folder.absolute()
    raise BadInput(
        f"{tried[-1]} holds no prefect.yaml; give the project's folder deployments/ as --files"
    )


def read_deployments(path: Path) -> list[ListedDeployment]:
    """Read the deployments of a prefect.yaml; `BadInput` if there are none or one has no name."""
    values = _read_yaml(path)
    found = values.get("deployments") if isinstance(values, dict) else None
    if not (isinstance(found, list) and found):
        raise BadInput(f"{path} lists no deployments; expected some under the key deployments")
    for each in found:
        if not (isinstance(each, dict) and each.get("name") and each.get("entrypoint")):
            raise BadInput(f"{path}: a deployment lacks its name or its entrypoint; give it both")
    return [
        ListedDeployment(
            str(each["name"]),
            str(each["entrypoint"]),
            bool(each.get("schedules") or each.get("schedule")),
        )
        for each in found
    ]


def read_automation(path: Path) -> dict[str, Any]:
    """Read an automation as its file has it; `BadInput` if it lacks a name, trigger or actions."""
    values = _read_yaml(path)
    if isinstance(values, dict) and values.get("name") and isinstance(values.get("trigger"), dict):
        actions = values.get("actions")
        if isinstance(actions, list) and all(isinstance(a, dict) and "type" in a for a in actions):
            return values
    raise BadInput(
        f"{path} is no automation; expected its name, trigger and actions, or move it elsewhere"
    )


def _read_yaml(path: Path) -> Any:
    import yaml

    try:
        return yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise BadInput(f"{path} can't be read ({reason}); expected YAML") from None
