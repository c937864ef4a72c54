"""Numbers as each language writes them: `.968` and `45,000` in English, `0,968` and `45 000` in Spanish.

Spanish takes the decimal comma, keeps the zero before it, and sets thousands apart by a thin space from
five digits on (Ortografía de la lengua española, 2010). A number and its unit stay on one line.
"""

from math import isfinite

MARKS = {"en": ".", "es": ","}
THIN, JOIN = "\u202f", "\u00a0"  # spaces at which no line breaks


def decimal(value: float, places: int, lang: str = "en") -> str:
    """So many decimals, the zero before them kept: `0.50`, `0,50`."""
    return f"{value:.{places}f}".replace(".", MARKS[lang])


def share(value: float | None, lang: str = "en", places: int = 3) -> str:
    """A share between 0 and 1 as `.968` or `0,968`; a dash where there is none."""
    if value is None or not isfinite(value):
        return "–"
    text = decimal(value, places, lang)
    return text.removeprefix("0") if lang == "en" else text


def number(value: float, lang: str = "en") -> str:
    """A whole number with thousands set apart: `45,000`, `45 000`."""
    if lang == "en":
        return f"{value:,.0f}"
    # Four digits stand together.
    return f"{value:.0f}" if abs(round(value)) < 10_000 else f"{value:,.0f}".replace(",", THIN)


def points(value: float, lang: str = "en") -> str:
    """A difference in percentage points with its sign: `+4.1`, `−0.3`, `0.0`."""
    sign = "" if f"{abs(value):.1f}" == "0.0" else "+" if value > 0 else "−"
    return sign + decimal(abs(value), 1, lang)


def percent(part: float, lang: str = "en") -> str:
    """A share as a percentage that claims neither all nor nothing too early: `>99 %`, `3.5 %`."""
    if 0.995 <= part < 1:
        return f">99{JOIN}%"
    if 0 < part < 0.0005:
        return f"<{decimal(0.1, 1, lang)}{JOIN}%"
    return f"{decimal(100 * part, 0 if part >= 0.0995 else 1, lang)}{JOIN}%"


def took(seconds: float, lang: str = "en") -> str:
    """A time to the precision that a reader needs: `5.2 s`, `45 s`, `4 min 25 s`, `2 h 5 min`."""
    if seconds < 9.95:
        return f"{decimal(seconds, 1, lang)}{JOIN}s"
    whole = round(seconds)
    if whole < 120:
        return f"{whole}{JOIN}s"
    if whole < 7200:
        return f"{whole // 60}{JOIN}min {whole % 60}{JOIN}s"
    return f"{whole // 3600}{JOIN}h {whole % 3600 // 60}{JOIN}min"


def tick(seconds: float, lang: str = "en") -> str:
    """A time on an axis, without fractions of minutes and without a rest of nothing: `1 h 30 min`."""
    if seconds < 60:
        return f"{seconds:g}{JOIN}s".replace(".", MARKS[lang])
    units = ("h", "min") if seconds >= 3600 else ("min", "s")
    whole, rest = divmod(round(seconds / (60 if seconds >= 3600 else 1)), 60)
    first = f"{whole}{JOIN}{units[0]}"
    return f"{first} {rest}{JOIN}{units[1]}" if rest else first
