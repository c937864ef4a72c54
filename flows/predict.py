"""Flow: predict the labels of unlabelled images with a trained model."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any

from prefect import flow
from prefect.runtime import flow_run
from pydantic import Field

from flows.parameters import Address
from tasks.inference.predict import ImageSample, as_csv, predict_images
from tasks.inference.predict_new import predict_new
from tasks.inference.scored_table import Appended
from tasks.io.locations import store_address
from tasks.monitoring.prefect_ui import show_predictions
from tasks.store.marker import mark_store
from tasks.store.opening import open_store
from tasks.vision.files.left_out import LeftOut


@flow(name="predict", flow_run_name="predict {pictures}", persist_result=False)
def predict(
    pictures: Annotated[str, Field(min_length=1, max_length=2000)],
    model: Annotated[str, Field(min_length=1, max_length=2000)] = "latest/ten_class",
    store: Address = None,
    unless: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    parquet: Address = None,
) -> dict[str, Any]:
    """Predict the labels of a folder of images.

    Stores a table of all images as predictions/ID.csv, and a grid of some as predictions/ID.png; with
    `parquet`, of those that are new.

    Args:
        pictures: a folder, archive or s3:// address of images.
        model: RUN/STAGE, @ALIAS, or the path of a run's folder models/STAGE.
        store: a folder or s3://bucket/prefix for all results; defaults to the worker's RELEVO_STORE.
        unless: least probability of an answer; less probable ones, and images unlike anything in training, are
            counted as unsure.
        parquet: a folder or s3://bucket/prefix with a table that grows: only pictures that this model has not
            scored into it before are scored, and appended.
    """
    home = store_address(store)
    sample = ImageSample()
    left_out: list[LeftOut] = []
    added = Appended(0, 0, 0, ())
    if parquet:
        predictions, added = predict_new(
            home, model, [pictures], parquet, sample, left_out.extend, unless
        )
    else:
        predictions = list(predict_images(home, model, [pictures], sample, left_out.extend, unless))
    read = [each for each in predictions if not each.fault]
    mark_store(opened := open_store(home))
    labels = list(read[0].probabilities) if read else []
    name, table, grid = f"predictions/{flow_run.id}", "", ""
    if predictions:
        opened.write(f"{name}.csv", as_csv(read).encode())
        opened.write(f"{name}.png", sample.grid(labels, model))
        table, grid = opened.address(f"{name}.csv"), opened.address(f"{name}.png")
    counts = dict(Counter(each.answer for each in read))
    faults = [each.fault for each in predictions if each.fault]
    show_predictions(model, table, grid, counts, faults, str(added) if parquet else "")
    return {
        "table": table,
        "grid": grid,
        "counts": counts,
        "unreadable": faults,
        "left_out": list(map(str, left_out)),
        "unsure": sum(each.unsure for each in read),
        "scored_before": added.skipped,
        "parquet": list(added.parts),
    }
