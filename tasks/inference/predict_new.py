"""Predictions for images that a model has not scored before, appended to a table that grows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tasks.inference.maps import MapFolder
from tasks.inference.predict import ImageSample, Prediction, predict_images
from tasks.inference.scored_table import Appended, ScoredTable
from tasks.inference.unscored import Unscored
from tasks.runs.lookup import look_up
from tasks.vision.files.left_out import LeftOut


def predict_new(
    store: str,
    model: str,
    given: Sequence[str],
    folder: str,
    sample: ImageSample | None = None,
    leave_out: Callable[[list[LeftOut]], None] = lambda left_out: None,
    unless: float = 0.0,
    maps: MapFolder | None = None,
) -> tuple[list[Prediction], Appended]:
    """Predict the images that this model has not scored before, and append them to a table in Parquet.

    Args:
        folder: of the table, or s3://bucket/prefix; the others as for `predict_images`.

    Raises:
        BadInput: as for `predict_images`, or the folder holds other tables.
    """
    found = look_up(store, model)
    table = ScoredTable(folder, found.ref.digest, found.address)
    unscored, predictions = Unscored(table.known()), []
    for each in predict_images(store, found, given, sample, leave_out, unless, maps, unscored):
        table.add(each.scored(unscored))
        predictions.append(each)
    table.flush()
    unsure = sum(not each.fault and each.unsure for each in predictions)
    return predictions, Appended(len(predictions), unscored.skipped, unsure, tuple(table.parts))
