"""Task: export a trained model as a `.keras` file, which opens without this project."""

from __future__ import annotations

from tasks.cache.cached_task import Published, cached_task
from tasks.io.load import load_model
from tasks.progress import Event, emit
from tasks.store.base import Ref, Store
from tasks.vision.device import find_device, loading_tensorflow


@cached_task
def export(name: str, model: Ref, store: Store) -> Published:
    """Write a model with stock Keras layers only."""
    card, tensors = load_model(model, store)
    with loading_tensorflow():
        from tasks.vision.export.keras_file import keras_file

    content = keras_file(card, tensors, find_device())
    emit(Event(name, f"model.keras, {len(content) / 1e6:.1f} MB"))
    return Published(ref=store.put("export", content, ".keras", made_from=(model,)))
