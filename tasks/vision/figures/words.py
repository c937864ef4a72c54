"""The words of figures and page in one language, looked up by their English text as in gettext."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tasks.vision.figures.numbers import NO_BREAK_SPACE


@dataclass(frozen=True)
class Words:
    """A language: its code, and the catalogue that maps English messages to it.

    Example:
        >>> Words("es", {"%(name)s: loss": "%(name)s: pérdida"})("%(name)s: loss", name="baseline")
        'baseline: pérdida'
    """

    lang: str = "en"
    catalogue: Mapping[str, str] = field(default_factory=dict)

    def translate(self, message: str) -> str:
        """Translate a message; its %(name)s and %% stay. A percent sign stays with its number."""
        return self.catalogue.get(message, message).replace(" %%", f"{NO_BREAK_SPACE}%%")

    def __call__(self, message: str, /, **values: object) -> str:
        """Translate a message and fill in its %(name)s."""
        return self.translate(message) % values

    def epochs(self, count: int) -> str:
        """The number of epochs, with the noun."""
        return self("1 epoch") if count == 1 else self("%(count)s epochs", count=count)


ENGLISH = Words()
