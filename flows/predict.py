"""Flow: what a trained model says of pictures that nobody has labelled."""

from __future__ import annotations

from typing import Annotated, Any

from prefect import flow
from prefect.runtime import flow_run
from pydantic import Field

from flows.parameters import Address
from tasks.places import store_address
from tasks.predict import as_csv, predict_pictures
from tasks.shown import show_predictions
from tasks.store import open_store


@flow(name="predict", flow_run_name="predict {pictures}", persist_result=False)
def predict(
    pictures: Annotated[str, Field(min_length=1, max_length=2000)],
    model: Annotated[str, Field(min_length=1, max_length=2000)] = "latest/ten_class",
    store: Address = None,
) -> dict[str, Any]:
    """Have a model score a folder of pictures; the table is left in the store, as predictions/ID.csv.

    Args:
        pictures: a folder or archive of pictures, s3:// too.
        model: RUN/STAGE, or an exported model's folder.
        store: where results are kept, a folder or s3://bucket/prefix; the worker's RELEVO_STORE when
            left out.
    """
    home = store_address(store)
    predictions = list(predict_pictures(home, model, [pictures]))
    read = [each for each in predictions if not each.fault]
    key = f"predictions/{flow_run.id}.csv"
    open_store(home).write(key, as_csv(read).encode())
    table = open_store(home).address(key)
    counts: dict[str, int] = {}
    for each in read:
        counts[each.label] = counts.get(each.label, 0) + 1
    faults = [each.fault for each in predictions if each.fault]
    show_predictions(model, table, counts, faults)
    return {"table": table, "counts": counts, "unreadable": faults}
