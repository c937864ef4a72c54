"""Let an alias name another model, if it is better where that is asked, or the one before again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tasks.io.locations import existing_store
from tasks.promotion.compare_models import compare_models
from tasks.promotion.gate import Gate
from tasks.runs.aliases.history import History, append, unknown_alias
from tasks.runs.aliases.record import MAX_WHY, SIGN, AliasedModel, AliasRecord, alias_name
from tasks.runs.lookup import look_up
from tasks.store.base import Damaged, Missing, Store
from tasks.vision.errors import BadInput
from tasks.vision.evaluation.paired import PairedScores


@dataclass(frozen=True)
class Proposal:
    """A model that passes the gate, if there is one, beside the one that the alias names now.

    Attributes:
        number: of the alias's last record, 0 if it has none.
    """

    alias: str
    number: int
    was: AliasedModel | None
    model: AliasedModel
    scores: PairedScores | None


@dataclass(frozen=True)
class Answer:
    """What a person says to a proposal."""

    promote: bool
    by: str = ""
    why: str = ""


@dataclass(frozen=True)
class Promotion:
    """What became of a promotion.

    Attributes:
        changed: whether the alias names another model than before. model: that was to be promoted.
        was: the model that the alias named before; None for the first one.
        why: the reason that was given, or what the comparison came to.
        record: what was written into the history; None if nothing was.
    """

    alias: str
    changed: bool
    model: AliasedModel
    was: AliasedModel | None
    why: str
    scores: PairedScores | None = None
    record: AliasRecord | None = None


def promote(
    store: str,
    given: str,
    alias: str,
    gate: Gate | None = None,
    *,
    why: str = "",
    by: str = "",
    ask: Callable[[Proposal], Answer] | None = None,
) -> Promotion:
    """Let an alias name a model, if it passes the gate; the answer is written into the history either way.

    Args:
        given: RUN/STAGE or @ALIAS. by: this user by default. ask: a person, if the model passes.

    Raises:
        BadInput: there is no such model, or it can't be compared with the one in use.
        StoreError: the store can't be written, or has no conditional writes.
    """
    home, name = existing_store(store), alias_name(alias)
    history = History.of(home, name)
    model = _model_of(home, given)
    # A damaged record stops a comparison; a promotion without one mends the alias.
    last = history.last if gate else history.last_sound
    was = last.model if last else None
    objection, scores = _objection(home, was, model, gate)
    if ask and not objection:
        answer = ask(Proposal(name, last.number if last else 0, was, model, scores))
        objection = "" if answer.promote else "declined"
        by, why = answer.by or by, "; ".join(filter(None, (answer.why, why)))
    reasons = [str(scores) if scores else "", objection, *_notes(scores), why]
    why = "; ".join(filter(None, reasons))[:MAX_WHY]
    if not objection:
        before = last.number if last else None
        record = append(history, "promoted", model, by=by, why=why, before=before, scores=scores)
    elif last:
        record = append(
            history,
            "not promoted",
            last.model,
            by=by,
            why=why,
            before=last.before,
            candidate=model,
            scores=scores,
        )
    else:
        return Promotion(name, False, model, None, why, scores)  # there is no history yet
    if record is None:
        return Promotion(name, False, model, was, _overtaken(history))
    return Promotion(name, not objection, model, was, why, scores, record)


def _model_of(home: Store, given: str) -> AliasedModel:
    found = look_up(home.uri, given)
    if found.file is not None:
        raise BadInput(
            f"model {given!r}: expected RUN/STAGE, a model of the store {home.uri}; a folder can't be promoted"
        )
    run, _, stage = found.address.rpartition("/")
    return AliasedModel(run=run, stage=stage, ref=found.ref.model_copy(update={"made_from": ()}))


def _objection(
    home: Store, was: AliasedModel | None, model: AliasedModel, gate: Gate | None
) -> tuple[str, PairedScores | None]:
    """Why the model does not pass the gate, "" if it does; and the scores that say so, if it was compared."""
    if gate is None or was is None:
        return "", None
    if was.ref.digest == model.ref.digest:
        return "it is the same model", None
    scores = compare_models(home, was, model, gate)
    return gate.objection(scores) or "", scores


def go_back(store: str, alias: str, *, why: str = "", by: str = "") -> Promotion:
    """Let an alias name the model that it named before.

    Raises:
        BadInput: there is no such alias, no model before, or it is gone. StoreError: as for `promote`.
    """
    home, name = existing_store(store), alias_name(alias)
    history = History.of(home, name)
    last = history.last_sound
    if last is None:
        raise unknown_alias(home, name)
    damaged = last.number != history.numbers[-1]
    to = last if damaged else history.before(last)
    if to is None:
        raise BadInput(
            f"alias {SIGN}{name}: no model is known before {last.model}; promote another"
        )
    try:
        home.fetch(to.model.ref)
    except (Missing, Damaged) as error:
        raise BadInput(
            f"alias {SIGN}{name}: the model before, {to.model}, can't be used: {error}; promote another"
        ) from None
    record = append(history, "returned", to.model, by=by, why=why, before=to.before)
    if record is None:
        return Promotion(name, False, to.model, last.model, _overtaken(history))
    return Promotion(name, True, to.model, None if damaged else last.model, why, None, record)


def _notes(scores: PairedScores | None) -> list[str]:
    if not scores:
        return []
    left_out = f"without {scores.left_out:,} that one was trained on" if scores.left_out else ""
    return [f"on {scores.data}", left_out, scores.unknown]


def _overtaken(history: History) -> str:
    now = History.of(history.home, history.alias).last_sound
    what = f"it is {now.model} now, by {now.by}" if now else "somebody else was faster"
    return f"{SIGN}{history.alias} was changed meanwhile: {what}; give the command again if you still want it"
