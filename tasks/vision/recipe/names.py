"""Names in a recipe, also used in files, tables and figures: validate, quote and repair them."""

from __future__ import annotations

import unicodedata
from pathlib import Path, PurePosixPath

LONGEST = 60  # characters; files are named after a stage and its control
ALLOWED = f"1 to {LONGEST} characters, none of them a control character"


def is_good_name(name: str) -> bool:
    """True if the name is not blank, at most 60 characters, without control characters."""
    return bool(name.strip()) and len(name) <= LONGEST and name == visible(name)


def clipped(name: str) -> str:
    """Quote a name for a message, shortened if it is long."""
    return repr(name if len(name) <= LONGEST else f"{name[:20]}…")


def good_name(text: str) -> str:
    """Return the good name nearest to a text; empty if none of its characters can be shown."""
    text = text if is_good_name(text) else " ".join(visible(text).split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1].rstrip()}…"


def visible(text: str) -> str:
    """Replace each character that a line can't show by a space."""
    hidden = ("Cc", "Cs", "Zl", "Zp")  # controls, surrogates, ends of lines
    return "".join(" " if unicodedata.category(each) in hidden else each for each in text)


IMAGENET = "imagenet/"  # a start of this prefix is a network that Keras names


def is_keras_file(start: object) -> bool:
    """True for the start of a stage that is the path or address of a Keras 3 file."""
    return isinstance(start, str) and start.lower().endswith(".keras")


def is_model(start: object) -> bool:
    """True for the start of a stage that is a trained model: @ALIAS, or RUN/STAGE or a folder with a slash."""
    if not isinstance(start, str) or is_pretrained(start):
        return False
    return start.startswith("@") or "/" in start or "\\" in start


def with_slash(start: str) -> str:
    """Return `start`, as ./FOLDER if it is the name of a folder here."""
    try:
        folder = bool(start) and not is_pretrained(start) and Path(start).is_dir()
    except (OSError, ValueError):  # too long, or with a null byte
        folder = False
    return f"./{start}" if folder and not is_model(start) else start


def start_name(start: str) -> str:
    """Return a start as a reader knows it: RUN/STAGE for a run's folder, another file or folder by its name.

    >>> start_name("s3://bucket/runs/first/models/baseline"), start_name("/home/me/net.keras")
    ('first/baseline', 'net.keras')
    """
    parts = PurePosixPath(start.replace("\\", "/")).parts
    if is_model(start) and parts[-4:-3] == ("runs",) and parts[-2] == "models":
        return f"{parts[-3]}/{parts[-1]}"
    in_a_store = is_model(start) and len(parts) == 2 and start[0] not in "./~"
    return start if start.startswith(IMAGENET) or in_a_store else parts[-1]


def is_pretrained(start: object) -> bool:
    """True if a stage's start is a pretrained network: a .keras file or imagenet/NAME."""
    return is_keras_file(start) or (isinstance(start, str) and start.startswith(IMAGENET))
