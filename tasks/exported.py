"""What a trained model's folder in a run holds: for relevo, for Keras alone, and for a person."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tasks.kept import load_dataset, load_evaluation, load_model
from tasks.keys import NUMERIC, versions
from tasks.model_card import Facts, model_card
from tasks.store import Ref, open_store
from tasks.vision.labels import apply_scheme
from tasks.vision.meaning import LABELS, as_file
from tasks.vision.recipe import Recipe

if TYPE_CHECKING:
    from tasks.publish import Trained

MODEL_FILE = "model.safetensors"
KERAS_FILE = "model.keras"


def model_files(
    run: str, plan: Recipe, source: str, dataset: Ref, done: dict[str, Trained], store: str
) -> Iterator[tuple[str, bytes]]:
    """The files of every stage's folder, by their path `STAGE/NAME`.

    model.safetensors is what relevo goes on from, model.keras what Keras opens without it, labels.json
    says what the outputs are, and README.md is the model's card.
    """
    home, data = open_store(store), load_dataset(dataset, store)
    for stage, trained in done.items():
        card, _ = load_model(trained.model, store)
        scores, _ = load_evaluation(trained.scores, store)
        targets = apply_scheme(plan.scheme(plan.stages[stage]), data.classes)
        facts = Facts(
            stage=stage,
            run=run,
            recipe=plan.name,
            seed=plan.seed,
            source=source,
            card=card,
            model=trained.model,
            limits={targets.labels[i]: limit for i, limit in targets.limits.items()},
            scores=scores,
            dataset=dataset,
            data=data.description,
            start=(trained.start, done[trained.start].model) if trained.start else None,
            versions=versions("relevo", *NUMERIC),
        )
        yield f"{stage}/{MODEL_FILE}", home.fetch(trained.model).read_bytes()
        if trained.exported:
            yield f"{stage}/{KERAS_FILE}", home.fetch(trained.exported).read_bytes()
        yield f"{stage}/{LABELS}", as_file(card)
        yield f"{stage}/README.md", model_card(facts).encode()
