"""Tell formats of models apart by their content, and refuse all but `.keras` with a way to convert them."""

from __future__ import annotations

import zipfile
from pathlib import Path

from tasks.vision.errors import BadInput

HDF5 = b"\x89HDF\r\n\x1a\n"
ZIP = b"PK\x03\x04"
HEAD = 4096
SAVE = "load it with Keras 3 and save it with model.save('x.keras')"
NAMES = {  # a member of a zip -> what it is of
    "saved_model.pb": "a TensorFlow SavedModel",
    "data.pkl": "a PyTorch file",
    "constants.pkl": "a TorchScript file",
}


def refuse_other_formats(path: Path, given: str) -> None:
    """Refuse what is no zip with Keras' members.

    Raises:
        BadInput: it is something else; the message says what, and how to convert it.
    """
    if path.is_dir():
        saved_model = (path / "saved_model.pb").is_file()
        what = "a TensorFlow SavedModel" if saved_model else "a folder"
        raise BadInput(f"{given} is {what}, expected a .keras file; {SAVE}")
    if not path.is_file():
        raise BadInput(f"{given} is not there; expected a .keras file of Keras 3")
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        raise BadInput(
            f"{given} can't be read ({error.strerror}); expected a .keras file"
        ) from None
    if not head.startswith(ZIP):
        raise BadInput(f"{given} is {_kind(head, path)}")
    if (kind := _zip_kind(path)) is not None:
        raise BadInput(f"{given} is {kind}, expected a .keras file; {SAVE}")


def _kind(head: bytes, path: Path) -> str:
    """What a file that is no zip is, and how to convert it."""
    if not head:
        return "empty; expected a .keras file of Keras 3"
    if head.startswith(HDF5):
        return _hdf5_kind(path)
    if head[4:8] == b"TFL3":
        return (
            "a TFLite model, which can't be trained on; give the .keras file that it was made from"
        )
    if head[0] == 0x80 and head[1:2] in (b"\2", b"\3", b"\4", b"\5"):
        return f"a pickle, which relevo never opens since it can run code; {SAVE}"
    length = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and 2 <= length < 1 << 27:
        return f"a safetensors file: weights without a network; load them into one with Keras and {SAVE}"
    if head.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS, not the file itself; fetch it with `git lfs pull`"
    if head[:1] == b"\x08" and (b"onnx" in head or b"pytorch" in head or b"ir_version" in head):
        return "an ONNX model; rebuild it in Keras 3 and save it with model.save('x.keras')"
    if head[:1] == b"\x08":
        return "no .keras file, perhaps an ONNX model; rebuild it in Keras 3 and save that"
    return f"no .keras file (it begins with {head[:8]!r}); {SAVE}"


def _hdf5_kind(path: Path) -> str:
    """A whole model or weights alone: Keras writes the whole one's graph as an attribute."""
    with path.open("rb") as file:
        whole = b"model_config" in file.read(1 << 20)
    if whole:
        return f"a whole model as HDF5 (.h5); {SAVE}"
    return (
        "a weights file (HDF5) without its network; build the network, call load_weights with it, and save "
        "that with model.save('x.keras')"
    )


def _zip_kind(path: Path) -> str | None:
    """What a zip is that isn't of Keras; None if it may be."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.rpartition("/")[2] for name in archive.namelist()[:100_000]}
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError):
        return None  # the reader says how it is damaged
    return next((what for name, what in NAMES.items() if name in names), None)
