"""The files of deployments/, found, read and checked before a server is told of any of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tasks.vision.errors import BadInput


def find_folder(given: Path | None) -> Path:
    """The folder given, else this project's own, else deployments/ here; `BadInput` without prefect.yaml."""
    own = Path(__file__).parents[1] / "deployments"
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
