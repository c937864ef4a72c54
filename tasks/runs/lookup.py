"""Look up finished runs and their models by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tasks.io.load import load_model
from tasks.io.locations import check_allowed
from tasks.runs.aliases.history import read_alias
from tasks.runs.aliases.record import is_alias
from tasks.runs.listing import Runs, is_name, run_names
from tasks.runs.summary import RunSummary, read_lineage
from tasks.store.base import MAX_ARRAYS, Damaged, Missing, Ref, Store, sha256_of
from tasks.store.keys import blob_key
from tasks.store.opening import open_store
from tasks.vision.errors import BadInput, nearest
from tasks.vision.export.files import KERAS_FILE, MODEL_FILE
from tasks.vision.trained_model import Card, Tensors, digest, unpack

EXPORTED = (KERAS_FILE, "saved_model.pb", "model.tflite", "model.onnx")  # what `export` writes


@dataclass(frozen=True)
class FoundModel:
    """A trained model, and where it was found.

    Attributes:
        address: RUN/STAGE with the run's own name, or the absolute path or s3:// address of its folder.
        ref: as the store has it, or would have it. file: content of a folder's file; None for RUN/STAGE.
    """

    address: str
    card: Card
    tensors: Tensors
    ref: Ref
    file: bytes | None = None


def find_run(store: str, run: str) -> RunSummary:
    """Return the summary of a run by name, of the `latest`, or of the one that an @ALIAS names a model of.

    Raises:
        BadInput: there is no such run.
    """
    runs = Runs(open_store(store))
    if is_alias(run):
        run = read_alias(open_store(store), run).model.run
    if run == "latest":
        if newest := next(runs.newest_first(), None):
            return runs.summary(newest)
    elif is_name(run) and runs.is_finished(run):
        return runs.summary(run)
    names = run_names(store)[::-1]
    if not names:
        raise BadInput(f"run {run!r}: the store {store} has no runs yet; try: relevo run")
    alone = run.partition("/")[0]
    if alone != run and alone in (*names, "latest"):
        raise BadInput(f"run {run!r}: expected the name of a run without a stage; give {alone}")
    raise BadInput(f"run {run!r}{nearest(run, names, 5, 'relevo runs')}")


def find_model(store: str, given: str) -> tuple[Card, Tensors]:
    """Return the card and the tensors of a model.

    Args:
        store: folder or s3:// address. given: `RUN/STAGE`, or the path or URI of a model's folder.

    Raises:
        BadInput: there is no such run, stage or folder, or its file is not a model.
    """
    found = look_up(store, given)
    return found.card, found.tensors


def look_up(store: str, given: str) -> FoundModel:
    """Find the model `RUN/STAGE`, `@ALIAS`, or that of a folder models/STAGE by its path or URI.

    Raises:
        BadInput: there is no such run, stage or folder, or its file is not a model.
    """
    given = given.rstrip("/") or given  # shell completion appends a slash
    if is_alias(given):
        return _aliased(open_store(store), given)
    folder = Path(given)
    try:
        here = (folder / MODEL_FILE).is_file()
    except OSError as error:
        raise BadInput(
            f"model {given!r} can't be a path ({error.strerror}); expected RUN/STAGE, e.g. "
            "latest/baseline, or a run's folder models/STAGE"
        ) from None
    if here or given.startswith("s3://"):
        check_allowed("model", given)
        name, address = (folder / MODEL_FILE, folder.absolute()) if here else (given, given)
        return _in_folder(open_store(given).read(MODEL_FILE, MAX_ARRAYS), str(name), str(address))
    if other := next((name for name in EXPORTED if (folder / name).is_file()), None):
        raise BadInput(
            f"model {given!r}: {other} is for other programs, and {MODEL_FILE} isn't beside it; "
            "give RUN/STAGE, e.g. latest/baseline, or a run's folder models/STAGE"
        )
    run, slash, stage = given.rpartition("/")
    if not slash or folder.is_absolute() or folder.exists():
        raise BadInput(
            f"model {given!r}: expected RUN/STAGE, e.g. latest/baseline, @ALIAS, or a run's folder models/STAGE"
        )
    name, home = find_run(store, run).run, open_store(store)
    models = read_lineage(home, name).models
    if stage not in models:
        raise BadInput(f"stage {stage!r} of run {name}{nearest(stage, models)}")
    ref = models[stage]
    try:
        return FoundModel(f"{name}/{stage}", *load_model(ref, home), ref)
    except (Missing, Damaged) as error:
        raise BadInput(f"{error}; run its recipe again, which trains it again") from None


def _aliased(home: Store, given: str) -> FoundModel:
    """Load the model that an alias names, which stays when its run is removed."""
    named = read_alias(home, given).model
    try:
        return FoundModel(str(named), *load_model(named.ref, home), named.ref)
    except (Missing, Damaged) as error:
        raise BadInput(
            f"model {given} is {named}: {error}; run its recipe again, or promote another model"
        ) from None


def find_by_hash(store: str, sha256: str, address: str) -> FoundModel | None:
    """Return the model in the store whose file has this hash, if there is one; `address` names it."""
    home, key = open_store(store), blob_key("model", sha256, ".safetensors")
    try:
        content = home.read(key, MAX_ARRAYS)
        return _in_folder(content, address, address) if sha256_of(content)[0] == sha256 else None
    except (Missing, Damaged, BadInput):
        return None


def _in_folder(content: bytes, name: str, address: str) -> FoundModel:
    card, tensors = unpack(content, name)
    sha256, size = sha256_of(content)
    key = blob_key("model", sha256, ".safetensors")
    ref = Ref(kind="model", uri=key, sha256=sha256, size=size, digest=digest(tensors))
    return FoundModel(address, card, tensors, ref, content)
