"""Label schemes of any shape: images map to targets by class, and limits drop the last ones."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks.vision.data.batches.targets import apply_scheme
from tasks.vision.errors import BadInput
from tasks.vision.recipe.schema import LabelScheme

NAMES = [f"class{i}" for i in range(8)]


@st.composite
def schemes(draw: st.DrawFn) -> LabelScheme:
    """Some of the classes in up to four targets, the others left out or the rest; some limits."""
    order = draw(st.permutations(NAMES))
    cuts = sorted(draw(st.sets(st.integers(1, 7), min_size=1, max_size=4)))
    groups = [list(order[a:b]) for a, b in zip([0, *cuts], cuts, strict=False)]
    rest = "rest" if len(groups) < 2 or draw(st.booleans()) else None
    targets = {f"target{i}": group for i, group in enumerate(groups)}
    labels = [*targets, *([rest] if rest else [])]
    limits = draw(st.dictionaries(st.sampled_from(labels), st.integers(1, 9)))
    return LabelScheme(targets=targets, rest=rest, limits=limits)


images = st.lists(st.integers(0, 7), min_size=1, max_size=60).map(np.array)


@settings(deadline=None)
@given(schemes(), images)
def test_select_maps_images_by_class_up_to_the_limits(
    scheme: LabelScheme, labels: np.ndarray
) -> None:
    targets = apply_scheme(scheme, NAMES)
    assert targets.labels == scheme.labels
    assert targets.outputs == (1 if len(scheme.labels) == 2 else len(scheme.labels))
    target_of = {name: label for label, group in scheme.targets.items() for name in group}
    expected = [target_of.get(NAMES[label], scheme.rest) for label in labels]
    chosen, found = targets.select(NAMES, labels, limited=False)
    assert chosen.tolist() == [i for i, target in enumerate(expected) if target]
    assert [targets.labels[target] for target in found] == [t for t in expected if t]

    cut, labels_left = targets.select(NAMES, labels)
    limited = {label: scheme.limits.get(label, len(labels)) for label in scheme.labels}
    seen: Counter[str] = Counter()
    first = []
    for i, target in zip(chosen, found, strict=True):
        label = targets.labels[target]
        seen[label] += 1
        if seen[label] <= limited[label]:
            first.append(i)
    assert cut.tolist() == first
    assert len(labels_left) == len(cut)


@settings(deadline=None)
@given(schemes(), images)
def test_prior_shift_reverts_the_limits(scheme: LabelScheme, labels: np.ndarray) -> None:
    """Frequencies within the limits, divided by the shift's exponential, are those of the data."""
    targets = apply_scheme(scheme, NAMES)
    shift = targets.prior_shift(NAMES, labels).astype(np.float64)
    within, whole = (
        np.bincount(targets.select(NAMES, labels, limited=cut)[1], minlength=len(targets.labels))
        for cut in (True, False)
    )
    if targets.binary:
        shift = np.array([shift[0], 0.0])
    if not whole.all():
        return  # a target without an image has no frequency to learn
    restored = within / np.exp(shift)
    assert restored / restored.sum() == pytest.approx(whole / whole.sum(), rel=1e-4)


@settings(deadline=None)
@given(
    st.dictionaries(
        st.text(max_size=3), st.lists(st.sampled_from([*NAMES, "", "x"]), max_size=3), max_size=3
    ),
    st.none() | st.text(max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(-1, 3) | st.floats(), max_size=2),
)
def test_scheme_is_refused_with_a_message_or_applies(
    targets: dict[str, list[str]], rest: str | None, limits: dict[str, Any]
) -> None:
    try:
        scheme = LabelScheme(targets=targets, rest=rest, limits=limits)
        applied = apply_scheme(scheme, NAMES)
    except (ValidationError, BadInput):
        return
    assert len(set(applied.labels)) == len(applied.labels) >= 2
    assert all(applied.classes)


def test_a_class_is_the_same_in_any_unicode_form() -> None:
    scheme = LabelScheme(targets={"drink": ["cafe\u0301"]}, rest="other")
    targets = apply_scheme(scheme, ["bar", "caf\u00e9"])
    assert targets.classes == [["caf\u00e9"], ["bar"]]
