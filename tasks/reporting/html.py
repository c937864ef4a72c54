"""The report as one HTML page: numbers go in, a page that opens without a network comes out.

What is said stands in `report.html`, every sentence of it inside `{% trans %}` or `_()`; what is
compared is worked out here. A further language is one more file in `translations/`, which gives each
English message, as `messages()` lists them, its own; words in figures stand in `vision/words.py`.
"""

import tomllib
from base64 import b64encode
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from tasks.reporting.baselines import rivals_of
from tasks.vision.errors import BadInput
from tasks.vision.figures import numbers

TEMPLATE = Path(__file__).with_name("report.html")
TRANSLATIONS = Path(__file__).with_name("translations")

Numbers = Mapping[str, Any]
BALANCED_ACCURACY_GAP = (
    5.0  # points of balanced accuracy that are worth a sentence against those of accuracy
)


def render(data: dict[str, Any], figures: dict[str, bytes], lang: str = "en") -> str:
    """The page in language `lang`; `figures` maps names such as `baseline/loss` to PNG bytes.

    Only the figures that are given are shown; those of a name unknown here come last.

    Raises:
        BadInput: there is no translation into `lang`.
    """
    stages, translated = data["stages"], translation(lang)
    return (
        _environment(translated, lang)
        .from_string(TEMPLATE.read_text(encoding="utf-8"))
        .render(
            {
                **data,
                # Those of built-in recipes are known; a person's own stays as it is.
                "description": translated.get(data["description"], data["description"]),
                "lang": lang,
                "answers": [answer(name, stages) for name, s in stages.items() if s["start"]],
                "tree": lineage(stages),
                "anchors": {name: f"stage-{i}" for i, name in enumerate(stages, start=1)},
                "pictures": {name: _picture(png) for name, png in figures.items()},
                "rest": [name for name in figures if not _has_place(name, stages)],
            }
        )
    )


def translation(lang: str) -> dict[str, str]:
    """What each English message is in language `lang`; nothing for English.

    Raises:
        BadInput: there is no translation into `lang`.
    """
    have = {path.stem: path for path in TRANSLATIONS.glob("*.toml")}
    if lang != "en" and lang not in have:
        known = ", ".join(sorted({"en", *have}))
        raise BadInput(f"no report in language {lang!r}; expected one of: {known}")
    if lang == "en":
        return {}
    pairs = tomllib.loads(have[lang].read_text("utf-8"))["message"]
    return {pair["en"]: pair[lang] for pair in pairs}


def messages() -> set[str]:
    """Every English message of the page, plurals included: what a translation has to cover."""
    found = _environment({}, "en").extract_translations(TEMPLATE.read_text(encoding="utf-8"))  # type: ignore[attr-defined]
    texts: set[str] = set()
    for _, _, message in found:
        parts = message if isinstance(message, tuple) else (message,)
        texts.update(part for part in parts if isinstance(part, str))
    return texts


def answer(name: str, stages: Mapping[str, Numbers]) -> dict[str, Any]:
    """What a stage's start was worth: each rival with the difference in points and in seconds.

    `verdict` compares with training from scratch (the stage's own control, else a stage of the same
    labels that starts from nothing): gained, lost, even (the difference may be chance) or unknown. A
    gain that a frozen random network may have as well is the head's, not the start's: idle.
    """
    stage = stages[name]
    rows = [
        _against(stage, kind, title, rival)
        for kind, title, rival in rivals_of(name, stages)
        if title in stage["differences"]
    ]
    scratch = next((row for row in rows if row["kind"] != "random"), None)
    random = next((row for row in rows if row["kind"] == "random"), None)
    if scratch is None:
        verdict = "unknown"
    elif scratch["chance"]:
        verdict = "even"
    elif scratch["points"] < 0:
        verdict = "lost"
    else:
        by_the_head = random is not None and (random["chance"] or random["points"] < 0)
        verdict = "idle" if by_the_head else "gained"
    before = list(_ancestors(name, stages))[::-1]
    return {
        "name": name,
        "stage": stage,
        "rows": rows,
        "scratch": scratch,
        "random": random,
        "verdict": verdict,
        "before": before,
        "seconds_with_before": stage["seconds"] + sum(stages[s]["seconds"] for s in before),
    }


def _against(stage: Numbers, kind: str, title: str, rival: Numbers) -> dict[str, Any]:
    mine, theirs = stage["metrics"], rival["metrics"]
    points = 100 * (mine["accuracy"] - theirs["accuracy"])
    balanced = 100 * (mine["balanced_accuracy"] - theirs["balanced_accuracy"])
    return {
        "kind": kind,
        "name": title,
        "metrics": theirs,
        "epochs": rival["epochs"],
        "seconds": rival["seconds"],
        "points": points,
        "seconds_more": stage["seconds"] - rival["seconds"],
        # A frequent label may decide the accuracy and hide what happens to the others.
        "turned": abs(balanced) >= BALANCED_ACCURACY_GAP and points * balanced <= 0,
        **stage["differences"][title],
    }


def _ancestors(name: str, stages: Mapping[str, Numbers]) -> Iterator[str]:
    parent = stages[name]["start"]
    while parent in stages:
        yield parent
        parent = stages[parent]["start"]


def lineage(stages: Mapping[str, Numbers]) -> list[dict[str, Any]]:
    """The stages as trees: each stage under the one it starts from, in graph order."""
    nodes: dict[str, dict[str, Any]] = {
        name: {"name": name, "stage": s, "next": []} for name, s in stages.items()
    }
    roots: list[dict[str, Any]] = []
    for name, node in nodes.items():
        parent = nodes.get(stages[name]["start"])
        (roots if parent is None else parent["next"]).append(node)
    return roots


def _has_place(figure: str, stages: Mapping[str, Numbers]) -> bool:
    known = ("loss", "accuracy", "mistakes", "confusion", "reliability", "transfer_against_scratch")
    return figure == "class_distribution" or any(
        figure.startswith(f"{name}/predictions_") or figure in {f"{name}/{kind}" for kind in known}
        for name in stages
    )


def _picture(png: bytes) -> dict[str, Any]:
    # A figure is drawn at twice the pixels it is shown at; the size stands in the PNG's header.
    return {
        "uri": f"data:image/png;base64,{b64encode(png).decode()}",
        "width": int.from_bytes(png[16:20]) // 2,
        "height": int.from_bytes(png[20:24]) // 2,
    }


def _environment(translated: Mapping[str, str], lang: str) -> Environment:
    def one(message: str) -> str:
        # A number and its sign stay on one line.
        return translated.get(message, message).replace(" %%", f"{numbers.JOIN}%%")

    def many(single: str, plural: str, n: int) -> str:
        return one(single if n == 1 else plural)

    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        extensions=["jinja2.ext.i18n"],
    )
    environment.policies["ext.i18n.trimmed"] = True
    environment.install_gettext_callables(one, many, newstyle=True)  # type: ignore[attr-defined]
    written = (numbers.share, numbers.took, numbers.points, numbers.number)
    environment.filters.update({each.__name__: partial(each, lang=lang) for each in written})
    environment.filters.update(digits=digits, breakable=breakable)
    return environment


def digits(digest: str) -> str:
    """The hex digits of a digest without the name of its hash, which the table gives once."""
    return digest.removeprefix("sha256:")


def breakable(name: str) -> Markup:
    """A name that may go on in the next line after its underscores, on a narrow screen."""
    return escape(name).replace("_", Markup("_<wbr>"))
