"""What a sweep found, in a sentence."""

from __future__ import annotations

from tasks.progress import counted
from tasks.runs.sweeps.record import WITHOUT_MODEL, SweepSummary


def noise_sentence(sweep: SweepSummary) -> str:
    """Say how many of the other settings can't be distinguished from the best."""
    others = [
        each.verdict for each in sweep.combinations if each.verdict not in ("best", *WITHOUT_MODEL)
    ]
    noise = others.count("noise")
    if not others:
        return "no other settings to compare with"
    if noise == len(others):
        return "no difference is more than noise: none of the others can be distinguished from the best"
    if noise:
        return (
            f"{noise} of {counted(len(others), 'other')} can't be distinguished from the best: it is no more "
            "than noise"
        )
    return "the best is better than all others by more than noise"
