"""A growing table of predictions in Parquet, partitioned by model and date, in a folder or a bucket.

`model=sha256-DIGEST/date=YYYY-MM-DD/part-ID.parquet`, as Hive names partitions, so that pandas, DuckDB and
Spark read the folder as one table. Its columns are the same for all models. Needs the extra `parquet`.
"""

from __future__ import annotations

import importlib.util
import io
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tasks.io.locations import check_allowed
from tasks.store.base import MAX_ARRAYS, Missing, Store
from tasks.store.opening import open_store
from tasks.vision.errors import BadInput
from tasks.vision.text import printable

if TYPE_CHECKING:
    import pyarrow

PART = 50_000  # rows that are written at a time
READERS = 8  # parts that are read at once
DIGITS = 16  # of the model's digest, in the name of its partition


@dataclass(frozen=True)
class ScoredPicture:
    """A row of the table.

    Attributes:
        key: changes when the file is written to; 32 hex characters. file: its path or s3:// address.
        label: the most probable one. probabilities: of each label.
        unless: least probability of an answer; `unsure` if there was none. fault: why it could not be read.
        share_more_like_training: of the validation images, if the model can tell.
    """

    key: str
    file: str
    label: str | None = None
    probability: float | None = None
    probabilities: Mapping[str, float] = field(default_factory=dict)
    unless: float = 0.0
    unsure: bool = False
    share_more_like_training: float | None = None
    fault: str | None = None


@dataclass(frozen=True)
class Appended:
    """What a call of `predict` has added to a table.

    Attributes:
        new: pictures that were scored, unreadable ones included. skipped: that the model had scored before.
        unsure: new ones without an answer. parts: addresses of the files that were added.
    """

    new: int
    skipped: int
    unsure: int
    parts: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.new:,} new, {self.skipped:,} scored before, {self.unsure:,} unsure"


class ScoredTable:
    """The part of such a table that one model has.

    Attributes:
        parts: addresses of the files that were added.
    """

    def __init__(self, address: str, digest: str, model: str) -> None:
        """Open it, which writes nothing.

        Args:
            address: a folder or s3://bucket/prefix. digest: of the model. model: its name, for a column.

        Raises:
            BadInput: pyarrow is not installed, or the address is not allowed. StoreError: it is malformed.
        """
        if importlib.util.find_spec("pyarrow") is None:
            raise BadInput(
                "--parquet needs pyarrow, which isn't installed; pip install 'relevo[parquet]'"
            )
        check_allowed("parquet", address)
        self._store: Store = open_store(address)
        self._store.check()
        # Digits alone would be read as a number.
        self._partition = f"model=sha256-{digest[:DIGITS]}"
        self._model = model
        self._rows: list[ScoredPicture] = []
        self.parts: list[str] = []

    def known(self) -> frozenset[str]:
        """Return the keys of all pictures that the model has scored.

        Raises:
            BadInput: a file is not one of the table's.
        """
        parts = [key for key in self._store.keys(self._partition) if key.endswith(".parquet")]
        with ThreadPoolExecutor(READERS) as pool:
            return frozenset(key for keys in pool.map(self._keys_in, parts) for key in keys)

    def add(self, row: ScoredPicture) -> None:
        """Add a picture; a part is written when it is full."""
        self._rows.append(row)
        if len(self._rows) >= PART:
            self.flush()

    def flush(self) -> None:
        """Write what was added since the last part. Atomic: the table never has half a part."""
        if not self._rows:
            return
        now = datetime.now(UTC)
        key = f"{self._partition}/date={now:%Y-%m-%d}/part-{uuid.uuid4().hex}.parquet"
        self._store.write(key, _as_parquet(self._rows, self._model, now))
        self.parts.append(self._store.address(key))
        self._rows = []

    def _keys_in(self, part: str) -> Iterator[str]:
        import pyarrow
        from pyarrow import parquet

        with suppress(Missing):  # somebody has removed it meanwhile
            content = self._store.read(part, MAX_ARRAYS)
            try:
                column = parquet.read_table(io.BytesIO(content), columns=["key"])["key"]
                return iter(column.to_pylist())
            except (pyarrow.ArrowException, KeyError, OSError) as error:
                raise BadInput(
                    f"{printable(self._store.address(part))} is no table of predictions "
                    f"({' '.join(str(error).split())[:80]}); move it elsewhere, or name another folder"
                ) from None
        return iter(())


def _schema() -> pyarrow.Schema:
    import pyarrow as pa

    columns = [
        ("key", pa.string()),
        ("file", pa.string()),
        ("label", pa.string()),
        ("probability", pa.float32()),
        ("probabilities", pa.map_(pa.string(), pa.float32())),
        ("unless", pa.float32()),
        ("unsure", pa.bool_()),
        ("share_more_like_training", pa.float32()),
        ("fault", pa.string()),
        ("model_name", pa.string()),
        ("scored_at", pa.timestamp("us", tz="UTC")),
    ]
    return pa.schema(columns)


def _as_parquet(rows: list[ScoredPicture], model: str, now: datetime) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    columns = {
        "key": [row.key for row in rows],
        "file": [printable(row.file) for row in rows],
        "label": [row.label for row in rows],
        "probability": [row.probability for row in rows],
        "probabilities": [list(row.probabilities.items()) for row in rows],
        "unless": [row.unless for row in rows],
        "unsure": [row.unsure for row in rows],
        "share_more_like_training": [row.share_more_like_training for row in rows],
        "fault": [row.fault for row in rows],
        "model_name": [model] * len(rows),
        "scored_at": [now] * len(rows),
    }
    buffer = io.BytesIO()
    table = pa.Table.from_pydict(columns, schema=_schema())
    parquet.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()
