"""Artifacts of a sweep for Prefect's UI: a table of its settings, and a page with the result."""

from __future__ import annotations

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from tasks.monitoring.prefect_ui import warn_on_failure
from tasks.runs.markdown import cell, code, plain
from tasks.runs.sweeps.record import SweepSummary
from tasks.sweeps.grid import shown, shown_value
from tasks.sweeps.words import noise_sentence

MOST_ROWS = 200


def show_sweep(sweep: SweepSummary) -> None:
    """Show what was tried and chosen. Server errors are logged and don't fail the run."""
    with warn_on_failure():
        create_table_artifact(
            [
                {
                    **{cell(path): cell(shown_value(v)) for path, v in each.settings.items()},
                    "validation": "" if each.mean is None else f"{each.mean:.4f}",
                    "95 % interval": " to ".join(f"{end:.4f}" for end in each.interval or ()),
                    "compared with the best": each.verdict,
                }
                for each in sweep.combinations[:MOST_ROWS]
            ],
            key="relevo-sweep-settings",
            description=f"Settings of the sweep {plain(sweep.sweep)}, the best first",
        )
        chosen = sweep.chosen
        low, high = chosen.interval
        lines = [
            f"# {plain(sweep.sweep)}",
            "",
            f"Best by validation: **{plain(shown(chosen.settings)) or 'the only settings'}**",
            "",
            f"Its accuracy on the test images: {chosen.accuracy:.4f} ({low:.4f} to {high:.4f})",
            "",
            plain(noise_sentence(sweep)),
            "",
            f"Run: `{code(chosen.run)}`",
            f"Page: `{code(sweep.page)}`",
        ]
        create_markdown_artifact(
            "\n".join(lines) + "\n",
            key="relevo-sweep",
            description=f"The sweep {plain(sweep.sweep)}",
        )
