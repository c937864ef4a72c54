"""Refs and keys: valid ones round-trip, all others are refused."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from support.stores import BAD_KEYS

from tasks.store.base import Ref
from tasks.store.keys import Kind, checked_key

KINDS = get_args(Kind)
hashes = st.text("0123456789abcdef", min_size=64, max_size=64)
words = st.from_regex(r"[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,20}", fullmatch=True)
good_keys = st.lists(words, min_size=1, max_size=4).map("/".join)


def refs(made_from: st.SearchStrategy[tuple[Ref, ...]]) -> st.SearchStrategy[Ref]:
    kinds = st.sampled_from(KINDS)
    sizes = st.integers(0, 1 << 50)
    return st.builds(
        Ref,
        kind=kinds,
        uri=good_keys,
        sha256=hashes,
        size=sizes,
        digest=hashes,
        made_from=made_from,
    )


any_ref = st.recursive(
    refs(st.just(())), lambda inner: refs(st.lists(inner, max_size=3).map(tuple)), max_leaves=4
)


@settings(deadline=None)
@given(good_keys)
def test_checked_key_returns_valid_keys(key: str) -> None:
    assert checked_key(key) == key


@settings(deadline=None)
@given(
    st.one_of(
        st.text(),
        st.text("./~a\\\n\0 "),
        st.lists(st.sampled_from(["..", ".", "", "a"])).map("/".join),
    )
)
def test_checked_key_refuses_whatever_leads_outside(key: str) -> None:
    try:
        inside = Path("/store", checked_key(key))
    except ValueError:
        return
    assert Path(os.path.normpath(inside)) == inside
    assert inside.is_relative_to("/store")
    assert inside != Path("/store")
    assert key.isascii()
    assert key.isprintable()


@settings(deadline=None)
@given(any_ref)
def test_ref_round_trips_through_json(ref: Ref) -> None:
    assert Ref.model_validate_json(ref.model_dump_json()) == ref


JUNK: dict[str, st.SearchStrategy[Any]] = {
    "kind": st.text().filter(lambda kind: kind not in KINDS),
    "uri": st.sampled_from([*BAD_KEYS, "a" * 301, 3, None]),
    "sha256": st.one_of(
        # Hypothesis does generate valid hashes: sixty-four zeros.
        st.text(max_size=70).filter(lambda text: not re.fullmatch("[0-9a-f]{64}", text)),
        hashes.map(lambda text: text[1:] + "G"),
        st.none(),
    ),
    "size": st.one_of(st.integers(max_value=-1), st.text("abc"), st.none(), st.just(1.5)),
    "digest": st.one_of(hashes.map(lambda text: text + "0"), st.integers(), st.none()),
    "made_from": st.sampled_from([None, 1, [1], [{}], "x", [{"kind": "model"}]]),
    "extra": st.just(1),
}


@settings(deadline=None)
@given(
    any_ref,
    st.sampled_from(sorted(JUNK)).flatmap(lambda name: JUNK[name].map(lambda junk: (name, junk))),
)
def test_ref_with_an_invalid_field_is_refused(ref: Ref, change: tuple[str, Any]) -> None:
    name, junk = change
    fields = {**json.loads(ref.model_dump_json()), name: junk}
    with pytest.raises(ValidationError):
        Ref.model_validate_json(json.dumps(fields))


@settings(deadline=None)
@given(st.one_of(st.text(), st.binary()))
def test_ref_from_other_json_is_refused(junk: str | bytes) -> None:
    with pytest.raises(ValidationError):
        Ref.model_validate_json(junk)
