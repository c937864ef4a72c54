"""The page of a promotion for Prefect's UI: both models side by side."""

from __future__ import annotations

from prefect.artifacts import create_markdown_artifact

from tasks.monitoring.prefect_ui import artifact_key, warn_on_failure
from tasks.promotion.promote import Promotion, Proposal
from tasks.runs.aliases.record import SIGN, AliasedModel
from tasks.runs.markdown import plain
from tasks.vision.evaluation.paired import PairedScores


def proposal_page(proposal: Proposal) -> str:
    """Return the page that a person decides by."""
    lines = [f"# May {plain(str(proposal.model))} be {SIGN}{proposal.alias}?", ""]
    return "\n".join([*lines, *_side_by_side(proposal.was, proposal.model, proposal.scores)]) + "\n"


def show_proposal(proposal: Proposal) -> None:
    """Show a proposal that waits for a person; server errors are logged."""
    _show(proposal.alias, proposal_page(proposal))


def show_promotion(done: Promotion) -> None:
    """Show what became of a promotion; server errors are logged."""
    what = "promoted" if done.changed else "not promoted"
    lines = [f"# {plain(str(done.model))} is {what} as {SIGN}{done.alias}", "", plain(done.why), ""]
    _show(done.alias, "\n".join([*lines, *_side_by_side(done.was, done.model, done.scores)]) + "\n")


def _show(alias: str, page: str) -> None:
    with warn_on_failure():
        about = f"Promotion to {SIGN}{alias}"
        create_markdown_artifact(page, key=artifact_key("promotion", alias), description=about)


def _side_by_side(
    was: AliasedModel | None, model: AliasedModel, scores: PairedScores | None
) -> list[str]:
    before = plain(str(was)) if was else "no model before"
    if scores is None:
        return [f"In use: {before}. The models were not compared."]
    low, high = scores.interval
    return [
        f"On {plain(scores.data)}, {scores.images:,} images that neither was trained on.",
        *([f"Not sure: {plain(scores.unknown)}."] if scores.unknown else []),
        "",
        f"| | in use: {before} | {plain(str(model))} | difference |",
        "|---|---:|---:|---:|",
        _row(
            scores.metric.replace("_", " "),
            scores.scores,
            f" ({low:+.4f} to {high:+.4f}, p = {scores.p:.2g})",
        ),
        *(_row(f"recall of {plain(label)}", pair) for label, pair in scores.recall.items()),
    ]


def _row(name: str, pair: tuple[float, float], more: str = "") -> str:
    first, second = pair
    return f"| {name} | {first:.4f} | {second:.4f} | {second - first:+.4f}{more} |"
