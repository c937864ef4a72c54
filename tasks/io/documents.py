"""Small JSON documents of a store, each with its own hash, so that any changed byte is detected."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from tasks.store.base import Ref, Store, sha256_of
from tasks.vision.errors import BadInput

T = TypeVar("T", bound=BaseModel)


def as_json(value: Any) -> bytes:
    """A value as human-readable JSON: indented, not escaped to ASCII."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def seal(document: BaseModel) -> bytes:
    """The document as JSON, with the SHA-256 of its values in it."""
    values = document.model_dump(mode="json")
    digest, _ = sha256_of(json.dumps(values, sort_keys=True).encode())
    return as_json({**values, "sha256": digest})


def unseal(kind: type[T], content: bytes) -> T:
    """Parse a document that `seal` wrote.

    Raises:
        ValueError: the bytes are not exactly those that `seal` writes for this document.
    """
    try:
        values = json.loads(content)
        del values["sha256"]
        document = kind.model_validate(values)
        if seal(document) != content:
            raise ValueError("its hash does not match")
    except (ValidationError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"it does not have the expected form ({type(error).__name__})") from None
    except json.JSONDecodeError:
        raise ValueError("it is not JSON") from None
    return document


def read_sealed(kind: type[T], home: Store, key: str, title: str) -> T:
    """Read a document that `seal` wrote; `title` names whose it is, e.g. "run 'x'".

    Raises:
        Missing, BadInput: there is none, or it is damaged.
    """
    try:
        return unseal(kind, home.read(key))
    except ValueError:
        folder, _, file = key.rpartition("/")
        raise BadInput(f"{title}: its {file} is damaged; remove the folder {folder}") from None


def read_ref(content: bytes) -> Ref:
    """The ref in a pointer, a document that holds nothing else.

    Raises:
        ValueError: other bytes than relevo writes.
    """
    ref = Ref.model_validate_json(content)
    if ref.model_dump_json().encode() != content:
        raise ValueError("it has another spelling")
    return ref
