"""Task: a trained model as a `.keras` file, which opens without this project."""

from __future__ import annotations

from typing import Any

from tasks.cache.cached_task import step
from tasks.cache.records import Done
from tasks.io.load import load_model
from tasks.progress import Event, emit
from tasks.store.base import Ref
from tasks.store.opening import open_store
from tasks.vision.device import find_device, loading_tensorflow


@step
def export(name: str, model: dict[str, Any], work: dict[str, Any], store: str) -> Any:
    """Write a model in Keras' stock layers; returns the file's ref."""
    model_ref = Ref.model_validate(model)
    card, tensors = load_model(model_ref, store)
    with loading_tensorflow():
        from tasks.vision.export.keras_file import keras_file

    content = keras_file(card, tensors, find_device())
    emit(Event(name, f"model.keras, {len(content) / 1e6:.1f} MB"))
    ref = open_store(store).put("export", content, ".keras", made_from=(model_ref,))
    return Done(ref=ref, ingredients=work).model_dump(mode="json")
