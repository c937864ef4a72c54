"""Numbers as a reader of English, and one of Spanish, expects them."""

import pytest

from tasks.vision.figures import numbers


def plain(text: str) -> str:
    """The text with ordinary spaces; those inside must not break a line."""
    assert " " not in text.replace("min ", "").replace("h ", "")
    return text.replace("\xa0", " ").replace("\u202f", " ")


@pytest.mark.parametrize(
    ("seconds", "english", "spanish"),
    [
        (0.04, "0.0 s", "0,0 s"),
        (5.24, "5.2 s", "5,2 s"),
        (9.96, "10 s", "10 s"),
        (119.4, "119 s", "119 s"),
        (265.4, "4 min 25 s", "4 min 25 s"),
        (7199.7, "2 h 0 min", "2 h 0 min"),
        (7500, "2 h 5 min", "2 h 5 min"),
    ],
)
def test_times_are_rounded_to_what_a_reader_needs(
    seconds: float, english: str, spanish: str
) -> None:
    assert plain(numbers.elapsed(seconds)) == english
    assert plain(numbers.elapsed(seconds, "es")) == spanish


@pytest.mark.parametrize(
    ("value", "english", "spanish"),
    [
        (0.9684, ".968", "0,968"),
        (1.0, "1.000", "1,000"),
        (0.0, ".000", "0,000"),
        (2.5, "2.500", "2,500"),
        (None, "–", "–"),
        (float("nan"), "–", "–"),
    ],
)
def test_shares_have_three_decimals(value: float | None, english: str, spanish: str) -> None:
    assert numbers.share(value) == english
    assert numbers.share(value, "es") == spanish


@pytest.mark.parametrize(
    ("value", "english", "spanish"),
    [(4.14, "+4.1", "+4,1"), (-0.26, "−0.3", "−0,3"), (-0.04, "0.0", "0,0")],
)
def test_points_have_their_sign(value: float, english: str, spanish: str) -> None:
    assert numbers.points(value) == english
    assert numbers.points(value, "es") == spanish


@pytest.mark.parametrize(
    ("value", "english", "spanish"),
    [
        (360, "360", "360"),
        (4500, "4,500", "4500"),
        (9999.6, "10,000", "10 000"),
        (45000, "45,000", "45 000"),
        (1234567, "1,234,567", "1 234 567"),
    ],
)
def test_spanish_sets_thousands_apart_from_five_digits_on(
    value: float, english: str, spanish: str
) -> None:
    assert plain(numbers.number(value)) == english
    assert plain(numbers.number(value, "es")) == spanish


@pytest.mark.parametrize(
    ("part", "english", "spanish"),
    [
        (0.9999, ">99 %", ">99 %"),
        (1.0, "100 %", "100 %"),
        (0.035, "3.5 %", "3,5 %"),
        (0.0001, "<0.1 %", "<0,1 %"),
    ],
)
def test_a_percentage_claims_neither_all_nor_nothing_too_early(
    part: float, english: str, spanish: str
) -> None:
    assert plain(numbers.percent(part)) == english
    assert plain(numbers.percent(part, "es")) == spanish


@pytest.mark.parametrize(
    ("seconds", "english", "spanish"),
    [
        (0.5, "0.5 s", "0,5 s"),
        (80, "1 min 20 s", "1 min 20 s"),
        (120, "2 min", "2 min"),
        (3600, "1 h", "1 h"),
        (5400, "1 h 30 min", "1 h 30 min"),
    ],
)
def test_a_time_axis_has_no_fractions_of_minutes(
    seconds: float, english: str, spanish: str
) -> None:
    assert plain(numbers.time_tick(seconds)) == english
    assert plain(numbers.time_tick(seconds, "es")) == spanish
