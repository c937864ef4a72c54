"""Look up finished runs and their models by name."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from tasks.runs.summary import RunSummary, read_lineage, read_summary, stamp
from tasks.store.base import Damaged, Missing, Store
from tasks.store.opening import open_store
from tasks.vision.errors import BadInput, nearest
from tasks.vision.export.files import KERAS_FILE, MODEL_FILE
from tasks.vision.trained_model import Card, Tensors, unpack

EXPORTED = (KERAS_FILE, "saved_model.pb", "model.tflite", "model.onnx")  # what `export` writes
STAMP = re.compile(r"\d{8}-\d{6}-\d{3}(?=-)")


def run_names(store: str) -> list[str]:
    """Return the names of finished runs, sorted by start, the newest last."""
    home = open_store(store)
    published = _published(home)
    return sorted(published, key=lambda name: (_began(home, name, published[name]), name))


def _published(home: Store) -> dict[str, datetime]:
    """Return unsorted names of finished runs, and when their summaries were written."""
    found = ((entry.key.split("/"), entry.modified) for entry in home.entries("runs"))
    return {path[1]: modified for path, modified in found if path[2:] == ["run.json"]}


def _began(home: Store, name: str, published: datetime) -> str:
    if usual := STAMP.match(name):
        return usual[0]
    # A name chosen by a user. If the summary is damaged, the file's own time is close enough.
    with suppress(BadInput):
        return stamp(read_summary(home, name).started)
    return stamp(published)


def has_summary(home: Store, name: str) -> bool:
    """True if the run's summary is as relevo wrote it."""
    try:
        read_summary(home, name)
    except BadInput:
        return False
    return True


def is_run(home: Store, name: str) -> bool:
    """True if a folder with a run.json is a run, even a damaged one; other programs use that name too."""
    if has_summary(home, name):
        return True
    with suppress(Missing):
        return bool(home.entry(f"runs/{name}/lineage.json"))
    return False


def check_free(store: str, name: str) -> None:
    """Refuse the name of a finished run for a new run; an unfinished run may be continued.

    Raises:
        BadInput: a finished run has this name.
    """
    with suppress(Missing):
        open_store(store).entry(f"runs/{name}/run.json")
        raise BadInput(
            f"run {name!r}: the store {store} has a run of that name; give another name, or none"
        )


def find_attempt(store: str, flow_run: str) -> RunSummary | None:
    """Return the summary that this flow run published before it crashed, if any."""
    return next((each for each in all_runs(store)[0] if each.flow_run == flow_run), None)


def all_runs(store: str) -> tuple[list[RunSummary], list[str]]:
    """Return the summaries of all finished runs, the newest last, and a fault per damaged run."""
    found, damaged = [], []
    for name in run_names(store):
        try:
            found.append(read_summary(open_store(store), name))
        except BadInput as error:
            damaged.append(str(error))
    return found, damaged


def last_runs(store: str, most: int) -> list[RunSummary]:
    """Return the summaries of the last `most` runs, the newest last, without damaged ones."""
    found = []
    for name in run_names(store)[-most:]:
        with suppress(BadInput):
            found.append(read_summary(open_store(store), name))
    return found


def find_run(store: str, run: str) -> RunSummary:
    """Return the summary of a run by name, or of the `latest`.

    Raises:
        BadInput: there is no such run.
    """
    home = open_store(store)
    names = _published(home)
    if not names:
        raise BadInput(f"run {run!r}: the store {store} has no runs yet; try: relevo run")
    if run == "latest":
        return read_summary(home, run_names(store)[-1])
    if run not in names:
        alone = run.partition("/")[0]
        if alone != run and alone in (*names, "latest"):
            raise BadInput(f"run {run!r}: expected the name of a run without a stage; give {alone}")
        raise BadInput(f"run {run!r}{nearest(run, run_names(store)[::-1], 5, 'relevo runs')}")
    return read_summary(home, run)


def find_model(store: str, given: str) -> tuple[Card, Tensors]:
    """Load card and tensors of `RUN/STAGE`, or of a folder models/STAGE by its path or URI.

    Raises:
        BadInput: there is no such run, stage or folder, or its file is not a model.
    """
    given = given.rstrip("/") or given  # shell completion appends a slash
    folder = Path(given)
    try:
        here = (folder / MODEL_FILE).is_file()
    except OSError as error:
        raise BadInput(
            f"model {given!r} can't be a path ({error.strerror}); expected RUN/STAGE, e.g. "
            "latest/baseline, or a run's folder models/STAGE"
        ) from None
    if here:
        return unpack((folder / MODEL_FILE).read_bytes(), str(folder / MODEL_FILE))
    if given.startswith("s3://"):
        return unpack(open_store(given).read(MODEL_FILE), given)
    if other := next((name for name in EXPORTED if (folder / name).is_file()), None):
        raise BadInput(
            f"model {given!r}: {other} is for other programs, and {MODEL_FILE} isn't beside it; "
            "give RUN/STAGE, e.g. latest/baseline, or a run's folder models/STAGE"
        )
    run, slash, stage = given.rpartition("/")
    if not slash or folder.is_absolute() or folder.exists():
        raise BadInput(
            f"model {given!r}: expected RUN/STAGE, e.g. latest/baseline, or a run's folder models/STAGE"
        )
    name, home = find_run(store, run).run, open_store(store)
    models = read_lineage(home, name).models
    if stage not in models:
        raise BadInput(f"stage {stage!r} of run {name}{nearest(stage, models)}")
    ref = models[stage]
    try:
        return unpack(home.fetch(ref).read_bytes(), ref.uri)
    except (Missing, Damaged) as error:
        raise BadInput(f"{error}; run its recipe again, which trains it again") from None
