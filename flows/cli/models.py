"""Commands that use a trained model: evaluate, predict and export."""

from __future__ import annotations

import json
import sys
from collections import Counter
from contextlib import nullcontext
from dataclasses import asdict
from os.path import expanduser, realpath
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter, validators

from flows.cli.options import Flag, JsonOption, StoreOption
from flows.cli.printing.output_files import write_output
from tasks.io.locations import store_address
from tasks.store.opening import open_store
from tasks.vision.errors import BadInput
from tasks.vision.export.formats import Format
from tasks.vision.files.image_files import looks_like_image
from tasks.vision.files.left_out import LeftOut
from tasks.vision.text import first_of, printable

if TYPE_CHECKING:
    from tasks.inference.scored_table import Appended

MAX_ROWS = 20  # on standard output, where --csv writes them all
MAX_KINDS = 5  # of files that are left out, where --json lists them all


def evaluate(
    model: str,
    *,
    data: str,
    split: Literal["test", "valid", "train"] = "test",
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> int:
    """Score a trained model on labelled images.

    Example: relevo evaluate latest/baseline --data photos

    Parameters
    ----------
    model
        RUN/STAGE, e.g. latest/transfer, @ALIAS, or a path to runs/RUN/models/STAGE.
    data
        digits, cifar10, or a folder, archive or table of images: test/CLASS/NAME.png or CLASS/NAME.png.
    split
        Which split to score: valid is val/ or validation/ too. Scores on a model's own training images
        are too high.
    """
    from tasks.inference.score import score_images
    from tasks.runs.lookup import look_up

    address = store_address(store)
    summary = score_images(open_store(address), look_up(address, model), data, split)
    if split == "train":
        print(
            "these are the model's own training images, if it was trained on this data; "
            "--split test scores images it has never seen",
            file=sys.stderr,
        )
    elif summary["seen"]:
        print(
            f"{summary['seen']:,} of the images are among those that the model was trained on, or chosen by;"
            " scores on them are too high",
            file=sys.stderr,
        )
    if summary["scored"] != split:
        place = "its folders as classes" if summary["scored"] == "." else summary["scored"]
        print(printable(f"there is no split {split}; scored {place}"), file=sys.stderr)
    lines = [*summary["unreadable"], *summary["left_out"]]
    for line in lines[:MAX_ROWS]:
        print(printable(f"left out {line}"), file=sys.stderr)
    if len(lines) > MAX_ROWS:
        print(f"and {len(lines) - MAX_ROWS:,} more; --json lists them", file=sys.stderr)
    if as_json:
        print(json.dumps(summary))
        return 0
    metrics = summary["metrics"]
    low, high = metrics["accuracy_interval"]
    print(
        f"{metrics['images']:,} images, accuracy {metrics['accuracy']:.4f} (95 %: {low:.4f} to {high:.4f})"
    )
    print(
        f"balanced accuracy {metrics['balanced_accuracy']:.4f}, majority {metrics['majority']:.4f}"
    )
    for label, recall in metrics["recall"].items():
        precision = metrics["precision"][label]
        print(f"  {printable(label):<20} recall {recall:.4f}  precision {precision:.4f}")
    return 0


def predict(
    model: str,
    images: Annotated[list[str], Parameter(negative="")],
    /,
    *,
    csv: Path | None = None,
    grid: Path | None = None,
    maps: Path | None = None,
    parquet: str | None = None,
    force: Flag = False,
    unless: Annotated[float, Parameter(validator=validators.Number(gt=0, lt=1))] | None = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> int:
    """Classify images: files, folders or archives of them.

    Example: relevo predict latest/ten_class photos/ --csv seen.csv

    Parameters
    ----------
    model
        RUN/STAGE, e.g. latest/transfer, @ALIAS, or a path to runs/RUN/models/STAGE.
    images
        Files, folders or archives; files that can't be read are reported and left out.
    csv
        Write a table with the probability of every label to this file.
    grid
        Draw some of the images with their labels into this file, NAME.png.
    maps
        Write each image beside a map of the evidence for its label into this new folder.
    parquet
        Append to a table in this folder or s3://bucket/prefix, and classify only images that this model has
        not scored into it before.
    force
        Overwrite these files if they exist.
    unless
        Answer "unsure" unless the most probable label has at least this probability, e.g. 0.9; also for an
        image that is unlike anything in training, where the model can tell.
    """
    for option, path in (("--csv", csv), ("--grid", grid)):
        if path is not None:
            _check_target(option, path, images, force=force)
    if csv and grid and realpath(csv) == realpath(grid):
        raise BadInput(f"--csv and --grid both name {csv}; give each a file of its own")
    if grid is not None and grid.suffix.lower() != ".png":
        raise BadInput(f"--grid {grid}: expected a name that ends in .png")
    from tasks.inference.maps import MapFolder
    from tasks.inference.new_folder import new_folder
    from tasks.inference.predict import ImageSample, as_csv, predict_images, predictions_json
    from tasks.inference.predict_new import predict_new

    added: Appended | None = None
    sample = ImageSample() if grid else None
    left_out: list[LeftOut] = []
    with new_folder(maps) if maps else nullcontext() as folder:
        address, shown = store_address(store), MapFolder(folder) if folder else None
        rest = (sample, left_out.extend, unless or 0.0, shown)
        if parquet:
            predictions, added = predict_new(address, model, images, parquet, *rest)
        else:
            predictions = list(predict_images(address, model, images, *rest))
        read = [each for each in predictions if not each.fault]
        for each in predictions:
            if each.fault:
                print(printable(f"left out {each.fault}"), file=sys.stderr)
        if left_out:
            print(f"left out {first_of(left_out, MAX_KINDS, '; ')}", file=sys.stderr)
        if not (read or added):
            raise BadInput(
                f"none of {len(predictions):,} files could be read as an image; give .png or .jpg files"
            )
    if csv is not None:
        write_output("--csv", csv, as_csv(read).encode("utf-8", "surrogateescape"))
    if sample and grid and read:
        write_output("--grid", grid, sample.grid(list(read[0].probabilities), model))
    if as_json:
        more = {"appended": asdict(added)} if added else {}
        print(json.dumps({**predictions_json(predictions, left_out), **more}))
        return 0
    listed = read if csv is None and not added else read[:MAX_ROWS]
    for each in listed:
        probability = each.probabilities[each.label]
        note = "  (unlike anything in training)" if each.unlike_training else ""
        print(f"{printable(each.answer):<20} {probability:.4f}  {printable(each.name)}{note}")
    if len(listed) < len(read):
        print(printable(f"... and {len(read) - len(listed):,} more in {csv or parquet}"))
        answers = Counter(each.answer for each in read).most_common()
        print(
            printable("of all: " + ", ".join(f"{answer} {n:,}" for answer, n in answers[:MAX_ROWS]))
        )
    if added:
        print(printable(f"{added}; {parquet}"))
    return 0


def export(
    model: str,
    folder: Path,
    *,
    format_: Annotated[Format, Parameter(name="--format")] = "keras",
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> int:
    """Write a trained model to a folder in a format for other programs.

    Example: relevo export latest/ten_class for-the-phone --format tflite

    Parameters
    ----------
    model
        RUN/STAGE, e.g. latest/transfer, @ALIAS, or a path to runs/RUN/models/STAGE.
    folder
        A new or empty folder.
    format_
        Format for Keras, TensorFlow, LiteRT (phones and small devices) or ONNX.
    """
    from tasks.inference.convert import export_model

    names = export_model(store_address(store), model, folder, format_)
    if as_json:
        print(json.dumps({"folder": str(folder.absolute()), "format": format_, "files": names}))
    else:
        print(printable(f"{folder}: {', '.join(names)}"))
    return 0


def _check_target(option: str, path: Path, images: list[str], *, force: bool) -> None:
    """Refuse an output file that can't be written, or that would overwrite or become an input."""
    folder = path.absolute().parent
    if not folder.is_dir():
        raise BadInput(f"{option} {path}: {folder} is no folder; create it first")
    if path.is_dir():
        raise BadInput(f"{option} {path} is a folder; name a file")
    target = Path(realpath(path))
    for given in images:
        source = Path(realpath(expanduser(given)))  # noqa: PTH111 (Path.expanduser raises)
        inside = source in target.parents and looks_like_image(target.name)
        if source == target or (inside and target.exists()):
            raise BadInput(f"{option} {path} is one of the images in {given}; name another file")
        if inside:
            raise BadInput(
                f"{option} {path} would be read as an image of {given} next time; name a file elsewhere"
            )
    if path.is_file() and not force:
        raise BadInput(f"{option} {path} exists; --force overwrites it")
