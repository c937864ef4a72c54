"""What a watch leaves in the store: a numbered record of each run that it started, and its last look.

The contract of `watch/NAME/00000001.json`, 00000002 and so on: each is a sealed `WatchStart`, created
exclusively before its run begins, so that of several watchers at once one starts it. `look.json` is replaced by
every look; of two at once either will do.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated

from pydantic import AwareDatetime, Field

from tasks.io.documents import seal, unseal
from tasks.runs.numbered_records import create_record, record_key, record_numbers
from tasks.store.base import Missing, Sha256, Store
from tasks.store.keys import WATCH
from tasks.vision.recipe.schema import Strict

Count = Annotated[int, Field(ge=0)]


class WatchStart(Strict):
    """A run that was started since data had changed.

    Attributes:
        watch, number: as in its key. by: user@host, or the flow run.
        run: name of the run's folder. attempt: how often it was started with these files, from 1.
        data: as given, without credentials.
        digest, files, whole, rows: of the listing, as of `tasks.watch.listing`.
        added, removed, written: files, since the listing of the last finished run.
    """

    watch: str = Field(pattern=f"^{WATCH}$")
    number: int = Field(ge=1)
    at: AwareDatetime
    by: str = Field(max_length=1000)
    run: str = Field(pattern=r"^[A-Za-z0-9_-]{1,100}$")
    attempt: int = Field(1, ge=1)
    data: str = Field(max_length=2000)
    digest: Sha256
    files: Count
    added: Count
    removed: Count
    written: Count
    whole: str = Field(pattern="^([0-9a-f]{64})?$")
    rows: str


class WatchLook(Strict):
    """The last look at the data.

    Attributes:
        digest: of its listing. since: when a look found another one before; None if none did.
        finished: number of the last start whose run is known to have finished; 0 before.
    """

    watch: str = Field(pattern=f"^{WATCH}$")
    at: AwareDatetime
    digest: Sha256
    since: AwareDatetime | None = None
    finished: Count = 0


@dataclass(frozen=True)
class Watch:
    """The documents of one watch; `numbers` are those of the starts there were, sorted."""

    home: Store
    name: str
    numbers: tuple[int, ...]

    @classmethod
    def of(cls, home: Store, name: str) -> Watch:
        """The watch as it is now; empty before the first look."""
        return cls(home, name, record_numbers(home, f"watch/{name}"))

    def key(self, number: int) -> str:
        """Key of a start in the store."""
        return record_key(f"watch/{self.name}", number)

    @property
    def look_key(self) -> str:
        """Key of the last look."""
        return f"watch/{self.name}/look.json"

    def read(self, number: int) -> WatchStart:
        """Read one start.

        Raises:
            Missing: there is none. ValueError: it is damaged, or another one's.
        """
        start = unseal(WatchStart, self.home.read(self.key(number)))
        if (start.watch, start.number) != (self.name, number):
            raise ValueError("it is the record of another watch or number")
        return start

    def newest(self, most: int | None = None) -> WatchStart | None:
        """The newest start that can be read, of those up to number `most`; None if there is none."""
        for number in reversed(self.numbers):
            if most is None or number <= most:
                with suppress(Missing, ValueError):
                    return self.read(number)
        return None

    def last_look(self) -> WatchLook | None:
        """The last look; None before the first, and if it is damaged."""
        with suppress(Missing, ValueError):
            return self.read_look()
        return None

    def read_look(self) -> WatchLook:
        """Read the last look.

        Raises:
            Missing: there is none. ValueError: it is damaged, or another watch's.
        """
        found = unseal(WatchLook, self.home.read(self.look_key))
        if found.watch != self.name:
            raise ValueError("it is the look of another watch")
        return found

    def note(self, look: WatchLook) -> None:
        """Write the last look."""
        self.home.write(self.look_key, seal(look))

    def create(self, start: WatchStart) -> bool:
        """Add a start, unless another watcher was faster: then return False."""
        if not create_record(self.home, self.key(start.number), seal(start)):
            return False
        # Those that were removed meanwhile could be created again.
        return max(Watch.of(self.home, self.name).numbers) == start.number

    def remove_before(self, number: int) -> None:
        """Remove the starts before this one, with which nothing is compared any more."""
        for each in self.numbers:
            if each < number:
                self.home.delete(self.key(each))


def watch_names(home: Store) -> list[str]:
    """Sorted names of a store's watches."""
    return [name for name in home.folders("watch") if re.fullmatch(WATCH, name)]
