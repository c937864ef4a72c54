"""Durations that users type."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tasks.io.durations import duration_of
from tasks.vision.errors import BadInput


def test_a_duration_is_a_number_and_a_unit() -> None:
    for given, expected in (
        ("90s", timedelta(seconds=90)),
        ("10m", timedelta(minutes=10)),
        ("12h", timedelta(hours=12)),
        ("30d", timedelta(days=30)),
        ("2 w", timedelta(weeks=2)),
    ):
        assert duration_of(given, "--settle") == expected
    for wrong in ("30", "d", "-1d", "1.5d", "30 days", ""):
        with pytest.raises(
            BadInput, match=f"--settle '{wrong}': expected a number and s, m, h, d or w"
        ):
            duration_of(wrong, "--settle")
