"""What a run's summary says, for those who show it: the terminal and Prefect's UI."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.progress import duration


def took(summary: Mapping[str, Any]) -> str:
    """How long a run took, and on what."""
    where = "a GPU" if summary["device"] == "gpu" else "a processor"
    return f"{duration(summary['seconds'])}, on {where}"


def control_kinds(stages: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The kinds of controls that some stage has, in the order in which they stand beside it."""
    return [*dict.fromkeys(kind for stage in stages.values() for kind in stage.get("controls", {}))]
