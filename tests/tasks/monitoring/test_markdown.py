"""No name of a file, label, run or stage becomes a link, a picture or HTML in Prefect's UI."""

from __future__ import annotations

import json
import re

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from support.cards import bare_card
from support.results import bare_result, bare_scores, bare_stage, bare_summary

from tasks.monitoring.prefect_ui import _page as page_of
from tasks.monitoring.prefect_ui import _row as row_of
from tasks.monitoring.prefect_ui import show_predictions, show_stage
from tasks.runs.markdown import cell, code, plain
from tasks.store.opening import open_store
from tasks.vision.recipe.schema import Network
from tasks.vision.trained_model import Architecture

EVIL = '![x](http://evil.example/x.png) <img src="http://evil.example/y.png"> `a` | b\n# c'
LIVE = re.compile(r"(?<!\\)!\[x(?<!\\)\]\(|(?<!\\)<img|\n# c")


@pytest.mark.parametrize("escape", [plain, code, cell])
def test_a_name_is_one_line_and_cannot_end_its_context(escape: object) -> None:
    text = escape(EVIL)  # type: ignore[operator]
    assert "\n" not in text
    if escape is code:
        assert "`" not in text
        assert "|" not in text
    else:
        assert not LIVE.search(text)


def test_plain_names_stay_as_they_are_in_cells() -> None:
    assert cell("ten_class (a*b)") == "ten_class (a*b)"


def test_artifacts_hold_no_live_markup(server: str, tmp_path: object) -> None:
    built = Architecture(network=Network(), image_size=32, outputs=1, mean=(0, 0, 0), std=(1, 1, 1))
    result = bare_result(
        card=bare_card(built, [EVIL, "b"], [["a"], ["b"]]), scores=bare_scores([EVIL, "b"])
    )

    @flow
    def shows() -> None:
        show_predictions(EVIL, EVIL, EVIL, {EVIL: 1}, [EVIL])
        show_stage(EVIL, result, open_store(str(tmp_path)), figures=False)

    shows()
    with get_client(sync_client=True) as client:
        body = {"sort": "CREATED_DESC", "limit": 5}
        found = client.request("POST", "/artifacts/filter", json=body).json()
    texts = [
        text
        for each in found
        if "evil" in json.dumps(each)
        for text in (each["description"], each["data"] if isinstance(each["data"], str) else "")
    ]
    rows = [row for each in found if isinstance(each["data"], str) for row in [each["data"]]]
    assert len(texts) == 4
    for text in [*texts, *rows]:
        outside = re.sub(r"`[^`]*`", "", text)  # a code span is shown as it is
        assert not LIVE.search(outside), text


def test_pages_of_a_run_hold_no_live_markup() -> None:
    summary = bare_summary(EVIL, recipe=EVIL, report=EVIL, stages={EVIL: bare_stage(start=EVIL)})
    for line in page_of(summary):
        assert not LIVE.search(re.sub(r"`[^`]*`", "", line)), line
    assert not any(LIVE.search(value) for value in row_of(EVIL, summary.stages[EVIL]).values())
