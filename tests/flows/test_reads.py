"""Reports and summaries are made from the stages' results, without reading models or scores again."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.command import SMALL
from support.stores import count_reads

from flows.cli.options import all_settings
from flows.experiment import experiment
from tasks.runs.summary import read_lineage
from tasks.store.opening import open_store


def test_model_is_read_to_score_export_and_start_from_and_scores_once(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = count_reads(monkeypatch)
    settings = all_settings([words.removeprefix("--set=") for words in SMALL], None)
    store = str(tmp_path / "store")
    summary = experiment("digits", store=store, stages=["transfer"], settings=settings)
    lineage = read_lineage(open_store(store), summary.run)
    assert reads[lineage.models["transfer"].uri] == 2
    assert reads[lineage.models["baseline"].uri] == 3, "once more by the stage that starts from it"
    controls = lineage.controls.values()
    assert controls
    assert {reads[control.model.uri] for control in controls} == {1}
    evaluations = [*lineage.evaluations.values(), *(each.evaluation for each in controls)]
    assert {reads[ref.uri] for ref in evaluations} == {1}
