"""Aliases such as @best, the model in use: a name and its history, in numbered records.

The contract of `aliases/NAME/00000001.json`, 00000002 and so on: each is a sealed `AliasRecord`, created
exclusively and never changed or removed. So of several writers at once one wins, and the history has no gap.
The last record says what the alias names, and `before` the record to return to.
"""

from __future__ import annotations

import getpass
import re
import socket
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from tasks.io.documents import seal, unseal
from tasks.runs.aliases.record import SIGN, Action, AliasedModel, AliasRecord, alias_name
from tasks.runs.numbered_records import MAX_NUMBER, create_record, record_key, record_numbers
from tasks.store.base import Missing, Store, StoreError
from tasks.store.keys import ALIAS
from tasks.store.marker import MARKER, MARKER_CONTENT, mark_store
from tasks.vision.errors import BadInput
from tasks.vision.evaluation.paired import PairedScores
from tasks.vision.text import first_of

MAX_RECORD = 4 << 20  # bytes; the largest lists the recall of a thousand classes


@dataclass(frozen=True)
class History:
    """An alias's records, which are read when they are asked for; `numbers` are those there were, sorted."""

    home: Store
    alias: str
    numbers: tuple[int, ...]

    @classmethod
    def of(cls, home: Store, alias: str) -> History:
        """The history as it is now; empty for an alias that is not there."""
        return cls(home, alias, record_numbers(home, f"aliases/{alias}"))

    def key(self, number: int) -> str:
        """Key of a record in the store."""
        return record_key(f"aliases/{self.alias}", number)

    def read(self, number: int) -> AliasRecord:
        """Read one record.

        Raises:
            Missing: there is none. ValueError: it is damaged, or another one's.
        """
        record = unseal(AliasRecord, self.home.read(self.key(number), MAX_RECORD))
        if (record.alias, record.number) != (self.alias, number):
            raise ValueError("it is the record of another alias or number")
        if record.before is not None and record.before >= number:
            raise ValueError("it returns to a later record")
        return record

    @property
    def last(self) -> AliasRecord | None:
        """The last record, which says what the alias names; None before the first promotion.

        Raises:
            BadInput: it is damaged.
        """
        if not self.numbers:
            return None
        try:
            return self.read(self.numbers[-1])
        except (Missing, ValueError) as error:
            raise BadInput(
                f"alias {SIGN}{self.alias}: its last record {self.key(self.numbers[-1])} is damaged "
                f"({error}); say what it names by `relevo promote RUN/STAGE --as {self.alias}`, or return "
                f"to the model before by `relevo promote --back {self.alias}`"
            ) from None

    @property
    def since(self) -> AliasRecord | None:
        """The newest sound record that changed what the alias names."""
        for record in self.newest_first():
            if record.action != "not promoted":
                return record
        return None

    def newest_first(self) -> Iterator[AliasRecord]:
        """Yield the records that can be read."""
        for number in reversed(self.numbers):
            with suppress(Missing, ValueError):
                yield self.read(number)

    @property
    def last_sound(self) -> AliasRecord | None:
        """The newest record that can be read; None if there is none."""
        return next(self.newest_first(), None)

    def before(self, record: AliasRecord) -> AliasRecord | None:
        """The record that the alias returns to from this one; None if there is none, or it is damaged."""
        with suppress(Missing, ValueError):
            return self.read(record.before) if record.before else None
        return None


def alias_names(home: Store) -> list[str]:
    """Sorted names of a store's aliases."""
    return [name for name in home.folders("aliases") if re.fullmatch(ALIAS, name)]


def read_alias(home: Store, given: str) -> AliasRecord:
    """Return the last record of an alias, from two requests.

    Raises:
        BadInput: there is no such alias, or the record is damaged.
    """
    alias = alias_name(given)
    if last := History.of(home, alias).last:
        return last
    raise unknown_alias(home, alias)


def unknown_alias(home: Store, alias: str) -> BadInput:
    """The error for an unknown alias; it lists those that are known."""
    names = [f"{SIGN}{name}" for name in alias_names(home)]
    first = "the store has none yet; make one by `relevo promote RUN/STAGE --as NAME`"
    return BadInput(
        f"alias {SIGN}{alias} is not there; {f'known: {first_of(names)}' if names else first}"
    )


def append(
    history: History,
    action: Action,
    model: AliasedModel,
    *,
    by: str = "",
    why: str = "",
    before: int | None = None,
    candidate: AliasedModel | None = None,
    scores: PairedScores | None = None,
) -> AliasRecord | None:
    """Add a record to the history as it was read; None if another process has added one meanwhile.

    Args:
        by: this user by default.

    Raises:
        StoreError: the store is none of relevo's, or has no conditional writes.
    """
    home = history.home
    mark_store(home)
    # The marker is there, so only a service that ignores conditions writes it, as it is.
    if home.create(MARKER, MARKER_CONTENT):
        raise StoreError(
            f"store {home.uri}: the service ignores conditions of a write (If-None-Match), so two machines "
            "could both change an alias; use one that has conditional writes"
        )
    number = max(history.numbers, default=0) + 1
    if number > MAX_NUMBER:
        raise BadInput(
            f"alias {SIGN}{history.alias}: {history.key(MAX_NUMBER)} is no record of relevo's; remove it"
        )
    record = AliasRecord(
        alias=history.alias,
        number=number,
        id=uuid.uuid4().hex,
        action=action,
        at=datetime.now(UTC),
        by=by or this_user(),
        why=why,
        model=model,
        candidate=candidate,
        before=before,
        scores=scores,
    )
    home.touch(model.ref.uri)  # in use: its run may be removed meanwhile
    written = create_record(home, history.key(number), seal(record), MAX_RECORD)
    return record if written else None


def aliased_models(home: Store) -> dict[str, list[AliasedModel]]:
    """What each alias names, and named before: what `gc` retains.

    Raises:
        BadInput: a last record is damaged, so what it names is unknown.
    """
    found: dict[str, list[AliasedModel]] = {}
    for alias in alias_names(home):
        history = History.of(home, alias)
        if last := history.last:
            records = (last, history.before(last))
            found[alias] = [record.model for record in records if record]
    return found


def this_user() -> str:
    """USER@HOST of this process, for people to read."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # of a container without a user's name
        user = "?"
    return f"{user}@{socket.gethostname()}"
