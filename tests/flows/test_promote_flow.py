"""The flow `promote`: it waits for a person where that is asked, and does what the form says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from support.command import ROOT, environment
from support.compared import data_set, model_of_run
from support.stores import mark

from flows.promote import PromotionRequest, check_request, promote
from tasks.promotion.gate import Gate
from tasks.promotion.promote import Answer, Proposal
from tasks.promotion.promote import promote as promote_model
from tasks.runs.aliases.history import History
from tasks.store.base import Store
from tasks.vision.errors import BadInput


@pytest.fixture
def home(tmp_path: Path) -> Store:
    """Two models, of which the second is clearly better, and the first is in use."""
    home = mark(tmp_path / "store")
    data, test = data_set(home, range(60), range(60, 160)), range(60, 160)
    for run, right in (("poor", 60), ("decent", 90)):
        model_of_run(home, run, data, test=test, right=right)
    promote_model(home.uri, "poor/baseline", "best")
    return home


def execute(run: UUID, prefect_home: Path, server: str) -> None:
    """What a worker does with a run of a deployment."""
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "flow-run", "execute", str(run)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**environment(prefect_home), "PREFECT_API_URL": server},
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_person_is_asked_in_a_form(home: Store, prefect_home: Path, server: str) -> None:
    from prefect.artifacts import Artifact
    from prefect.client.orchestration import get_client
    from prefect.deployments.runner import RunnerDeployment

    deployment = RunnerDeployment.from_entrypoint("flows.promote.promote", name="on-demand")
    given: dict[str, Any] = {"model": "decent/baseline", "ask": True, "store": home.uri}
    with get_client(sync_client=True) as client:
        made: Any = deployment.apply()
        run = client.create_flow_run_from_deployment(made, parameters=given)
        execute(run.id, prefect_home, server)
        asked = client.read_flow_run(run.id)
        assert asked.state is not None
        assert (asked.state.name, asked.name) == ("Suspended", "promote decent/baseline as best")
        assert History.of(home, "best").numbers == (1,)
        page: Any = Artifact.get("relevo-promotion-best")
        assert "| in use: poor/baseline | decent/baseline |" in str(page.data)
        form = {"promote": True, "by": "Ada", "why": "looks right"}
        assert client.resume_flow_run(run.id, run_input=form).status.value == "ACCEPT"
        execute(run.id, prefect_home, server)
        ended = client.read_flow_run(run.id).state
        assert ended is not None
        assert ended.is_completed(), ended
    last = History.of(home, "best").last
    assert last is not None
    assert (last.number, last.by, str(last.model)) == (2, "Ada", "decent/baseline")
    assert last.why.endswith("; on the test split of decent; looks right")


def test_what_a_person_declines_is_not_promoted(home: Store) -> None:
    def decline(proposal: Proposal) -> Answer:
        assert (str(proposal.was), proposal.number) == ("poor/baseline", 1)
        assert proposal.scores is not None
        return Answer(False, "Ada", "too slow")

    done = promote_model(home.uri, "decent/baseline", "best", Gate(), ask=decline)
    assert (done.changed, done.record and done.record.by) == (False, "Ada")
    assert done.why.endswith("; declined; on the test split of decent; too slow")
    # The first model of an alias has no history to be declined in, and one that is worse is not asked about.
    first = promote_model(home.uri, "decent/baseline", "first", ask=lambda proposal: Answer(False))
    assert (first.changed, first.record) == (False, None)
    promote_model(home.uri, "decent/baseline", "best")
    asked: list[Proposal] = []

    def ask(proposal: Proposal) -> Answer:
        asked.append(proposal)
        return Answer(True)

    worse = promote_model(home.uri, "poor/baseline", "best", Gate(), ask=ask)
    assert not asked
    assert "it is worse" in worse.why


def test_without_a_deployment_nobody_can_be_asked(home: Store) -> None:
    with pytest.raises(BadInput, match="takes a deployment"):
        promote.fn("decent/baseline", ask=True, store=home.uri)


def test_a_promotion_is_checked_before_the_run_trains() -> None:
    asked = PromotionRequest(stage="baselin")
    with pytest.raises(BadInput, match=r"promotion.stage 'baselin' .*did you mean 'baseline'"):
        check_request(asked, ["baseline"], "inline")
    asked = PromotionRequest(stage="baseline", ask=True)
    check_request(asked, ["baseline"], "workers")
    with pytest.raises(BadInput, match="set dispatch = 'workers'"):
        check_request(asked, ["baseline"], "inline")
