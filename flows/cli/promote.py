"""Commands about the model in use: promote and aliases."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Annotated

from cyclopts import Parameter, validators

from flows.cli.options import Flag, JsonOption, StoreOption
from flows.cli.printing.tables import print_aliases, print_history
from tasks.io.locations import existing_store, store_address
from tasks.progress import Event, listening
from tasks.runs.aliases.history import History, alias_names, unknown_alias
from tasks.runs.aliases.record import SIGN, AliasedModel, AliasRecord, alias_name
from tasks.vision.errors import BadInput
from tasks.vision.evaluation.paired import Metric
from tasks.vision.text import is_utf8, printable

NOT_PROMOTED = 3  # exit status
LONGEST_WHY = 500  # characters


def promote(
    model: str | None = None,
    /,
    *,
    as_: Annotated[str | None, Parameter(name="--as")] = None,
    if_better: Flag = False,
    metric: Metric | None = None,
    margin: Annotated[float | None, Parameter(validator=validators.Number(gt=-1, lt=1))] = None,
    max_class_loss: Annotated[
        float | None, Parameter(validator=validators.Number(gte=0, lte=1))
    ] = None,
    data: str | None = None,
    back: str | None = None,
    why: str | None = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> int:
    """Give a model a name, such as @best, that every command takes for it; status 3 if it is not given.

    Example: relevo promote latest/ten_class --as best --if-better --max-class-loss 0.02

    With --if-better, the model must beat the one that has the name on images that neither was trained on:
    the 95 % interval of the difference lies above the margin, and McNemar's exact test (for balanced accuracy,
    one by random signs) rejects equality at .05. The answer is written into the alias's history either way.

    Parameters
    ----------
    model
        RUN/STAGE, e.g. latest/transfer, or @ALIAS.
    as_
        The name: small letters, digits, - and _.
    if_better
        Only if it is better than the model that has the name now.
    metric
        What --if-better compares: accuracy (the default) or balanced_accuracy.
    margin
        Least difference of the metric, 0 by default; below 0, a model passes that is surely not worse by more.
    max_class_loss
        Most that the recall of any label may fall, e.g. 0.02; no limit by default.
    data
        Images for --if-better, of which the test split is used; by default that of the model's own data.
    back
        Return this alias to the model that it named before.
    why
        A reason for the history.
    """
    gate_options = {
        "--metric": metric,
        "--margin": margin,
        "--max-class-loss": max_class_loss,
        "--data": data,
    }
    reason = why or ""
    _check(model, as_, back, if_better, gate_options, reason)
    from tasks.promotion.gate import Gate
    from tasks.promotion.promote import go_back
    from tasks.promotion.promote import promote as promote_model

    address = store_address(store)
    if back:
        done = go_back(address, back, why=reason)
    else:
        gate = Gate(
            metric=metric or "accuracy",
            margin=margin or 0,
            max_class_loss=max_class_loss,
            data=data,
        )
        done = promote_model(
            address, model or "", as_ or "", gate if if_better else None, why=reason
        )
    if done.changed:
        _register(done.alias, done.model, address)
    if as_json:
        about = {
            "alias": done.alias,
            "promoted": done.changed,
            "model": str(done.model),
            "model_digest": f"sha256:{done.model.ref.digest}",
            "was": str(done.was) if done.was else None,
            "why": done.why,
            "scores": done.scores.model_dump(mode="json") if done.scores else None,
            "record": done.record.number if done.record else None,
        }
        print(json.dumps(about))
    else:
        named, was = f"{SIGN}{done.alias}", f", was {done.was}" if done.was else ""
        stays = f"not promoted; {named} is {done.was} as before" if done.record else "not promoted"
        print(printable(f"{named} is {done.model} now{was}" if done.changed else stays))
        if done.why:
            print(printable(done.why))
    return 0 if done.changed else NOT_PROMOTED


def _register(alias: str, model: AliasedModel, store: str) -> None:
    from tasks.monitoring.mlflow_registry import register

    def show(event: Event) -> None:
        print(printable(f"{event.task}: {event.message}"), file=sys.stderr)

    with listening(show):
        register(alias, model, store)


def aliases(
    alias: str | None = None, *, store: StoreOption = None, as_json: JsonOption = False
) -> int:
    """List the aliases of the store and the models that they name; or the history of one.

    Example: relevo aliases best

    Parameters
    ----------
    alias
        Show who let this alias name which model, when and why.
    """
    home = existing_store(store_address(store))
    if alias is not None:
        return _show_history(History.of(home, alias_name(alias)), as_json)
    found: dict[str, AliasRecord] = {}
    for name in alias_names(home):
        try:
            history = History.of(home, name)
            if history.last and (since := history.since):
                found[name] = since
        except BadInput as error:
            print(printable(f"relevo: {error}"), file=sys.stderr)
    if as_json:
        print(json.dumps({"aliases": {name: _as_json(each) for name, each in found.items()}}))
    elif found:
        print_aliases(found)
    else:
        print("no aliases yet; try: relevo promote latest/STAGE --as best", file=sys.stderr)
    return 0


def _show_history(history: History, as_json: bool) -> int:
    if not history.numbers:
        raise unknown_alias(history.home, history.alias)
    records = [*history.newest_first()][::-1]
    for number in sorted({*history.numbers} - {record.number for record in records}):
        print(f"relevo: {history.key(number)} is damaged", file=sys.stderr)
    if as_json:
        listed = [_as_json(record) for record in records]
        print(json.dumps({"alias": history.alias, "history": listed}))
    else:
        print_history(records)
    return 0


def _as_json(record: AliasRecord) -> dict[str, object]:
    return {
        "number": record.number,
        "action": record.action,
        "model": str(record.model),
        "model_digest": f"sha256:{record.model.ref.digest}",
        "candidate": str(record.candidate) if record.candidate else None,
        "at": record.at.isoformat(),
        "by": record.by,
        "why": record.why,
        "scores": record.scores.model_dump(mode="json") if record.scores else None,
    }


def _check(
    model: str | None,
    alias: str | None,
    back: str | None,
    if_better: bool,
    gate_options: Mapping[str, object],
    why: str,
) -> None:
    """Refuse options that don't go together."""
    if len(why) > LONGEST_WHY:
        raise BadInput(f"--why has {len(why):,} characters; expected at most {LONGEST_WHY}")
    if not is_utf8(why):
        raise BadInput(f"--why {why!r}: expected text in UTF-8")
    given = [name for name, value in gate_options.items() if value is not None]
    if given and not if_better:
        raise BadInput(f"{given[0]} is a condition of --if-better; give both, or leave it out")
    if back is not None:
        if model is not None or alias is not None or if_better:
            raise BadInput(f"--back {back}: expected no model, --as or --if-better beside it")
    elif model is None or alias is None:
        raise BadInput("promote: expected RUN/STAGE --as NAME, or --back NAME")
