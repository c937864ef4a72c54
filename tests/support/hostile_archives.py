"""Hostile weights files and zips, and other formats under the name of a `.keras` file."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from support.hostile_cases import CASES, case
from support.keras_files import (
    hdf5,
    small_model,
    small_weights,
    write_keras,
)

SECRET = 0.123456  # in files beside it, which must not be read


def hdf5_case(name: str, message: str, change: Callable[[h5py.File], object]) -> None:
    """A case whose weights file is spoilt."""

    def write(folder: Path) -> Path:
        (folder / "secret.bin").write_bytes(np.full(40, SECRET, np.float32).tobytes())
        with h5py.File(folder / "secret.h5", "w") as file:
            file["kernel"] = np.full((8, 5), SECRET, np.float32)
        return write_keras(folder / "x.keras", weights=hdf5(small_weights(), change))

    CASES[name] = (write, message)


# HDF5.
KERNEL = "layers/dense/vars/0"


def _replaced(
    make: Callable[[h5py.Group], object], path: str = KERNEL
) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[path]
        folder, _, name = path.rpartition("/")
        made = make(file[folder])
        if isinstance(made, h5py.SoftLink | h5py.ExternalLink):
            file[folder][name] = made

    return change


def _external(group: h5py.Group) -> None:
    group.create_dataset("0", (8, 5), "f4", external=[("secret.bin", 0, 160)])


def _virtual(group: h5py.Group) -> None:
    layout = h5py.VirtualLayout((8, 5), "f4")
    layout[:] = h5py.VirtualSource("secret.h5", "kernel", (8, 5))
    group.create_virtual_dataset("0", layout)


def _data(value: object, **options: Any) -> Callable[[h5py.Group], object]:
    return lambda group: group.create_dataset("0", data=value, **options)


def _declared(
    shape: tuple[int, ...], dtype: Any = "f4", **options: Any
) -> Callable[[h5py.Group], object]:
    return lambda group: group.create_dataset("0", shape, dtype, **options)


FLOATS = np.ones((8, 5), np.float32)
OUTSIDE = "names data outside|can name other data"
hdf5_case("external data", OUTSIDE, _replaced(_external))
hdf5_case("virtual data", OUTSIDE, _replaced(_virtual))
hdf5_case("soft link", OUTSIDE, _replaced(lambda _: h5py.SoftLink("/layers/dense/vars/1")))
hdf5_case("external link", OUTSIDE, _replaced(lambda _: h5py.ExternalLink("secret.h5", "kernel")))
hdf5_case(
    "external group",
    OUTSIDE,
    _replaced(lambda _: h5py.ExternalLink("secret.h5", "/"), "layers/dense"),
)
hdf5_case(
    "soft group", OUTSIDE, _replaced(lambda _: h5py.SoftLink("/layers/conv2d"), "layers/dense")
)
hdf5_case("not stored", "not there", _replaced(_declared((8, 5))))
hdf5_case("shape bomb", "has the shape", _replaced(_declared((10**9, 10**6))))
hdf5_case(
    "chunk bomb", "compressed", _replaced(_declared((8, 5), chunks=(8, 5), compression="gzip"))
)
hdf5_case("compressed", "compressed", _replaced(_data(FLOATS, compression="gzip")))
hdf5_case("in pieces", "in pieces", _replaced(_data(FLOATS, chunks=(2, 2))))
hdf5_case("nan", "NaN or infinite", _replaced(_data(FLOATS * np.nan)))
hdf5_case("infinite", "NaN or infinite", _replaced(_data(FLOATS * np.inf)))
hdf5_case("beyond float32", "NaN or infinite", _replaced(_data(np.full((8, 5), 1e300))))
hdf5_case("other shape", "has the shape", _replaced(_data(FLOATS.T)))
hdf5_case("scalar", "has the shape", _replaced(_data(1.0)))
hdf5_case("integers", "holds int64", _replaced(_data(np.ones((8, 5), np.int64))))
hdf5_case("complex", "holds complex64", _replaced(_data(np.ones((8, 5), np.complex64))))
hdf5_case("strings", "expected float32", _replaced(_data(np.full((8, 5), b"abc"))))
hdf5_case("any length", "expected float32", _replaced(_declared((8, 5), h5py.vlen_dtype("f4"))))
hdf5_case("texts", "expected float32", _replaced(_declared((8, 5), h5py.string_dtype())))
hdf5_case("references", "expected float32", _replaced(_declared((8, 5), h5py.ref_dtype)))
hdf5_case("records", "expected float32", _replaced(_data(np.zeros((8, 5), [("a", "f4")]))))
hdf5_case("a group", "is no array", _replaced(lambda group: group.create_group("0")))
hdf5_case(
    "an array as group",
    "is no group",
    _replaced(lambda g: g.create_dataset("dense", data=1), "layers/dense"),
)
hdf5_case("a type", "is no array", _replaced(lambda group: group.__setitem__("0", np.dtype("f4"))))
hdf5_case("missing array", "has 1 arrays, expected 2", lambda file: file.__delitem__(KERNEL))
hdf5_case("missing layer", "has no layers/dense", lambda file: file.__delitem__("layers/dense"))
hdf5_case(
    "more arrays",
    "has 3 arrays",
    lambda file: file["layers/dense/vars"].create_dataset("2", data=1.0),
)
hdf5_case(
    "other names",
    "has no layers/dense/vars/0",
    lambda file: file.move(KERNEL, "layers/dense/vars/zero"),
)
hdf5_case(
    "a circle of groups",
    "has 1 arrays",
    _replaced(lambda g: g.__setitem__("vars", g.file["/"]), "layers/dense/vars"),
)
hdf5_case(
    "other layer's weights",
    "has the weights of 'tail'",
    lambda file: file["layers/dense/vars"].attrs.__setitem__("name", "tail"),
)


@case("no hdf5", "is damaged|smaller than")
def _no_hdf5(folder: Path) -> Path:
    return write_keras(folder / "x.keras", weights=b"\0" * 5000)


def _cut_weights(share: float) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        content = hdf5(small_weights())
        return write_keras(folder / "x.keras", weights=content[: int(share * len(content))])

    return write


def _cut_file(share: float) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = write_keras(folder / "x.keras")
        path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
        return path

    return write


for share in (0.01, 0.3, 0.6, 0.9, 0.999):
    CASES[f"weights cut at {share}"] = (_cut_weights(share), "damaged|smaller than")
    CASES[f"file cut at {share}"] = (_cut_file(share), "damaged|no .keras file")


# Zip.
def zip_case(name: str, message: str, write: Callable[[zipfile.ZipFile], object]) -> None:
    """A case of a zip with the small model's members and something more."""

    def make(folder: Path) -> Path:
        path = write_keras(folder / "x.keras")
        with zipfile.ZipFile(path, "a") as archive:
            write(archive)
        return path

    CASES[name] = (make, message)


def _twice(archive: zipfile.ZipFile) -> None:
    archive.writestr("config.json", b"{}")


zip_case("member outside", r"the member '../x'", lambda archive: archive.writestr("../x", b""))
zip_case("absolute member", "the member '/tmp/x'", lambda archive: archive.writestr("/tmp/x", b""))
zip_case("assets", "the member 'assets/x'", lambda archive: archive.writestr("assets/x", b""))
zip_case("code", "the member 'model.py'", lambda archive: archive.writestr("model.py", b""))
zip_case("member twice", "has config.json twice", _twice)


def members_case(
    name: str, message: str, change: Callable[[dict[str, bytes]], object], method: int = 8
) -> None:
    """A case of a zip with other members, compressed."""

    def make(folder: Path) -> Path:
        good, path = write_keras(folder / "good.keras"), folder / "x.keras"
        with zipfile.ZipFile(good) as archive:
            members = {member: archive.read(member) for member in archive.namelist()}
        change(members)
        with zipfile.ZipFile(path, "w", method) as archive:
            for member, content in members.items():
                archive.writestr(member, content)
        return path

    CASES[name] = (make, message)


def _bomb(member: str, size: int) -> Callable[[dict[str, bytes]], None]:
    return lambda members: members.update({member: bytes(size)})


members_case(
    "zip bomb of weights", "unpacks model.weights.h5", _bomb("model.weights.h5", 100 << 20)
)
members_case("zip bomb of config", "unpacks config.json", _bomb("config.json", 50 << 20))
members_case("zip bomb of metadata", "unpacks metadata.json", _bomb("metadata.json", 2 << 20))
members_case("bzip2", "neither stored nor deflated", lambda members: None, zipfile.ZIP_BZIP2)
members_case("no config", "has no config.json", lambda members: members.pop("config.json"))
members_case(
    "no weights", "has no model.weights.h5", lambda members: members.pop("model.weights.h5")
)
members_case(
    "weights as npz", "member 'model.weights.npz'", lambda m: m.update({"model.weights.npz": b""})
)
members_case(
    "keras 2",
    "is of Keras 2.15.0; open it there",
    lambda m: m.update({"metadata.json": b'{"keras_version": "2.15.0"}'}),
)
members_case(
    "no version", "is of Keras None", lambda members: members.update({"metadata.json": b"{}"})
)


def _patched(find: bytes, replace: bytes) -> Callable[[Path], Path]:
    """A zip whose headers are changed by hand."""

    def write(folder: Path) -> Path:
        path = write_keras(folder / "x.keras")
        content = path.read_bytes()
        at = content.index(b"PK\1\2")
        assert find in content[at:]
        path.write_bytes(content[:at] + content[at:].replace(find, replace, 1))
        return path

    return write


CENTRAL = b"PK\1\2" + struct.pack("<HHH", 0x0314, 20, 0)
CASES["encrypted"] = (
    _patched(CENTRAL, b"PK\1\2" + struct.pack("<HHH", 0x0314, 20, 1)),
    "an encrypted metadata.json",
)
CASES["other method"] = (
    _patched(CENTRAL + b"\0\0", CENTRAL + struct.pack("<H", 99)),
    "neither stored nor deflated|damaged",
)


# Other formats.
def format_case(name: str, message: str, content: bytes) -> None:
    """A case of a file with this content."""

    def write(folder: Path) -> Path:
        (folder / "x.keras").write_bytes(content)
        return folder / "x.keras"

    CASES[name] = (write, message)


def _archive(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"")
    return buffer.getvalue()


def _whole_h5(file: h5py.File) -> None:
    file.attrs["model_config"] = json.dumps(small_model())


SAVE = r"model.save\('x.keras'\)"
format_case("whole h5", f"a whole model as HDF5.*{SAVE}", hdf5({}, _whole_h5))
format_case("weights h5", f"a weights file.*{SAVE}", hdf5(small_weights()))
format_case("pickle", f"a pickle, which relevo never opens.*{SAVE}", pickle.dumps({"a": 1}))
format_case("pytorch", f"a PyTorch file.*{SAVE}", _archive("archive/data.pkl", "archive/data/0"))
format_case("saved model in a zip", "a TensorFlow SavedModel", _archive("m/saved_model.pb"))
format_case("tflite", "a TFLite model", b"\x1c\0\0\0TFL3" + bytes(20))
format_case("onnx", "an ONNX model", b"\x08\x08\x12\x07pytorch" + bytes(20))
format_case("safetensors", "a safetensors file", struct.pack("<Q", 20) + b'{"__metadata__":{}} ')
format_case("git lfs", "a pointer of Git LFS", b"version https://git-lfs.github.com/spec/v1\n")
format_case("empty", "is empty", b"")
format_case("text", "no .keras file", b"hello")
format_case("some zip", "has the member 'a.txt'", _archive("a.txt"))


@case("saved model", "a TensorFlow SavedModel")
def _saved_model(folder: Path) -> Path:
    (folder / "x").mkdir()
    (folder / "x/saved_model.pb").write_bytes(b"")
    return folder / "x"


@case("nothing", "is not there")
def _nothing(folder: Path) -> Path:
    return folder / "x.keras"
