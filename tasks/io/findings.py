"""Store and load what a check of a data set has found."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel

from tasks.io.load import read_blob
from tasks.io.prepared import load_dataset
from tasks.store.base import Ref, Store
from tasks.vision.check.checked import Checked
from tasks.vision.check.findings import FileFindings, ImageFindings, LabelFindings
from tasks.vision.recipe.schema import Strict
from tasks.vision.trained_model import pack_arrays, unpack_arrays

T = TypeVar("T", bound=BaseModel)


class FindingRefs(Strict):
    """Findings in the store.

    Attributes:
        files: None where files were not looked at. labels: None before a training.
        judge: name of the stage that judged them.
    """

    images: Ref
    files: Ref | None = None
    labels: Ref | None = None
    judge: str = ""


def publish_findings(findings: BaseModel, store: Store, made_from: tuple[Ref, ...]) -> Ref:
    """Store findings and return their ref."""
    content = pack_arrays({}, findings.model_dump(mode="json"))
    return store.put("check", content, ".safetensors", made_from=made_from)


def load_findings(kind: type[T], ref: Ref, store: Store) -> T:
    """Load findings of a kind.

    Raises:
        ValueError: the file has something else.
    """
    return kind.model_validate(unpack_arrays(read_blob(ref, store))[0])


def load_checked(dataset: Ref, refs: FindingRefs, store: Store) -> Checked:
    """Load all findings about a data set, together with it."""
    return Checked.of(
        load_dataset(dataset, store),
        load_findings(ImageFindings, refs.images, store),
        load_findings(LabelFindings, refs.labels, store) if refs.labels else None,
        load_findings(FileFindings, refs.files, store) if refs.files else None,
    )
