"""Number formats of each language: `.968` and `45,000` in English, `0,968` and `45 000` in Spanish.

Spanish has a decimal comma with a leading zero, and a thin space between thousands from five digits on
(Ortografía de la lengua española, 2010). No line breaks between a number and its unit.
"""

from math import isfinite

DECIMAL_MARKS = {"en": ".", "es": ","}
THIN_SPACE, NO_BREAK_SPACE = "\u202f", "\u00a0"  # spaces at which no line breaks


def decimal(value: float, places: int, lang: str = "en") -> str:
    """Format with a fixed number of decimals and a leading zero: `0.50`, `0,50`."""
    return f"{value:.{places}f}".replace(".", DECIMAL_MARKS[lang])


def share(value: float | None, lang: str = "en", places: int = 3) -> str:
    """Format a share between 0 and 1 as `.968` or `0,968`; a dash for None, NaN and infinity."""
    if value is None or not isfinite(value):
        return "–"
    text = decimal(value, places, lang)
    return text.removeprefix("0") if lang == "en" else text


def probability(value: float, lang: str = "en") -> str:
    """Format a probability in two decimals, without rounding up to certainty: `.97`, `>.99`."""
    return f">{share(0.99, lang, 2)}" if 0.995 <= value < 1 else share(value, lang, 2)


def number(value: float, lang: str = "en") -> str:
    """Format a whole number with separated thousands: `45,000`, `45 000`."""
    if lang == "en":
        return f"{value:,.0f}"
    # Spanish does not separate four digits.
    return (
        f"{value:.0f}" if abs(round(value)) < 10_000 else f"{value:,.0f}".replace(",", THIN_SPACE)
    )


def points(value: float, lang: str = "en") -> str:
    """Format a difference in percentage points with its sign: `+4.1`, `−0.3`, `0.0`."""
    sign = "" if f"{abs(value):.1f}" == "0.0" else "+" if value > 0 else "−"
    return sign + decimal(abs(value), 1, lang)


def percent(part: float, lang: str = "en") -> str:
    """Format a share as a percentage, without rounding to 0 % or 100 %: `>99 %`, `3.5 %`."""
    if 0.995 <= part < 1:
        return f">99{NO_BREAK_SPACE}%"
    if 0 < part < 0.0005:
        return f"<{decimal(0.1, 1, lang)}{NO_BREAK_SPACE}%"
    return f"{decimal(100 * part, 0 if part >= 0.0995 else 1, lang)}{NO_BREAK_SPACE}%"


def elapsed(seconds: float, lang: str = "en") -> str:
    """Format a duration in two units at most: `5.2 s`, `45 s`, `4 min 25 s`, `2 h 5 min`."""
    if seconds < 9.95:
        return f"{decimal(seconds, 1, lang)}{NO_BREAK_SPACE}s"
    whole = round(seconds)
    if whole < 120:
        return f"{whole}{NO_BREAK_SPACE}s"
    if whole < 7200:
        return f"{whole // 60}{NO_BREAK_SPACE}min {whole % 60}{NO_BREAK_SPACE}s"
    return f"{whole // 3600}{NO_BREAK_SPACE}h {whole % 3600 // 60}{NO_BREAK_SPACE}min"


def significant(value: float, lang: str = "en") -> str:
    """Format a small positive number with three digits that count: `.0316`, `0,0316`, `1e-5`."""
    if value < 1e-4:
        return f"{value:.3g}".replace("e-0", "e-").replace(".", DECIMAL_MARKS[lang])
    text = f"{value:.3g}".replace(".", DECIMAL_MARKS[lang])
    return text.removeprefix("0") if lang == "en" else text


def time_tick(seconds: float, lang: str = "en") -> str:
    """Format a tick of a time axis, without fractions of minutes and zero parts: `1 h 30 min`."""
    if seconds < 60:
        return f"{seconds:g}{NO_BREAK_SPACE}s".replace(".", DECIMAL_MARKS[lang])
    units = ("h", "min") if seconds >= 3600 else ("min", "s")
    whole, rest = divmod(round(seconds / (60 if seconds >= 3600 else 1)), 60)
    first = f"{whole}{NO_BREAK_SPACE}{units[0]}"
    return f"{first} {rest}{NO_BREAK_SPACE}{units[1]}" if rest else first
