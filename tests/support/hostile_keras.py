"""Files that look like `.keras` and are hostile, damaged or of another kind; each with its expected message."""

from __future__ import annotations

import io
import itertools
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from support.keras_files import (
    Json,
    hdf5,
    layer,
    small_model,
    small_weights,
    tensor,
    write_keras,
)

Case = tuple[Callable[[Path], Path], str]
CASES: dict[str, Case] = {}
SECRET = 0.123456  # what a file beside it holds, which must not be read


def case(name: str, message: str) -> Callable[[Callable[[Path], Path]], Callable[[Path], Path]]:
    """Register a function that writes a hostile file into a folder, and the message that refuses it."""

    def register(write: Callable[[Path], Path]) -> Callable[[Path], Path]:
        CASES[name] = (write, message)
        return write

    return register


def config_case(name: str, message: str, change: Callable[[Json], object]) -> None:
    """A case whose config is the small model's, changed in place or replaced by bytes."""

    def write(folder: Path) -> Path:
        config = small_model()
        changed = change(config)
        return write_keras(folder / "x.keras", changed if isinstance(changed, bytes) else config)

    CASES[name] = (write, message)


def settings_case(title: str, message: str, index: int, /, **settings: Any) -> None:
    """A case in which one layer of the small model has other settings."""

    def change(config: Json) -> None:
        config["config"]["layers"][index]["config"].update(settings)

    config_case(title, message, change)


def layer_case(title: str, message: str, /, **entry: Any) -> None:
    """A case in which the activation is another layer."""

    def change(config: Json) -> None:
        config["config"]["layers"][4].update(entry)

    config_case(title, message, change)


def hdf5_case(name: str, message: str, change: Callable[[h5py.File], object]) -> None:
    """A case whose weights file is spoilt."""

    def write(folder: Path) -> Path:
        (folder / "secret.bin").write_bytes(np.full(40, SECRET, np.float32).tobytes())
        with h5py.File(folder / "secret.h5", "w") as file:
            file["kernel"] = np.full((8, 5), SECRET, np.float32)
        return write_keras(folder / "x.keras", weights=hdf5(small_weights(), change))

    CASES[name] = (write, message)


CODE = "no stock layer of Keras"
# Layers that are code.
layer_case("lambda", "not among the layers", class_name="Lambda")
layer_case("tfsm layer", "not among the layers", class_name="TFSMLayer")
layer_case("torch module", "not among the layers", class_name="TorchModuleWrapper")
layer_case("flax layer", "not among the layers", class_name="FlaxLayer")
layer_case(
    "get_file as a layer", CODE, module="keras.utils", class_name="get_file", registered_name=None
)
layer_case("function", CODE, module="builtins", class_name="function", registered_name="function")
layer_case("eval", CODE, module="builtins", class_name="eval")
layer_case("os.system", CODE, module="os", class_name="system")
layer_case("custom module", CODE, module="evil", class_name="Evil", registered_name="Evil")
layer_case("registered name", CODE, registered_name="package>ReLU")
layer_case("no module", CODE, module=None, registered_name="package>Evil")
layer_case("application's name elsewhere", CODE, module="evil.convnext", class_name="LayerScale")
layer_case("unknown operation", "an operation", module="keras.src.ops.numpy", class_name="Fromfile")
layer_case("resizing crops", "not among", class_name="RandomCrop", config={"name": "act"})
LAMBDA = {"class_name": "__lambda__", "config": {"value": ["4wEAAAA=", None, None]}}
GET_FILE = {"module": "keras.utils", "class_name": "function", "config": "get_file"}
settings_case("lambda as activation", "__lambda__.* as its activation", 8, activation=LAMBDA)
settings_case("get_file as activation", "function.* as its activation", 8, activation=GET_FILE)
settings_case("unknown activation", "activation = 'get_file'", 8, activation="get_file")
settings_case(
    "quantised",
    "dtype policy 'QuantizedDTypePolicy'",
    8,
    dtype={"module": "keras", "class_name": "QuantizedDTypePolicy", "config": {"mode": "int8"}},
)
settings_case("quantised by name", "dtype 'int8_from_float32'", 8, dtype="int8_from_float32")
settings_case("quantisation", "quantization_config", 8, quantization_config={"class_name": "x"})
settings_case("lora", "the setting lora_rank", 8, lora_rank=4)
settings_case("unknown setting", "the setting url", 8, url="http://localhost/x")


@case("nested lambda", r"layer 'bad' \(Lambda\) is not among the layers")
def _nested_lambda(folder: Path) -> Path:
    config = small_model()
    bad = layer("Lambda", "bad", [], function=LAMBDA)
    inner = {**layer("Sequential", "act", ["norm"]), "module": "keras"}
    inner["config"] = {"name": "act", "layers": [bad]}
    config["config"]["layers"][4] = inner
    return write_keras(folder / "x.keras", config)


def _own_class(config: Json) -> None:
    config.update(module="evil", class_name="Evil", registered_name="evil>Evil")


config_case("own model class", "the model is a evil>Evil; expected a Functional", _own_class)

# Bombs in the config.
config_case("deep lists", "nested deeper than 64", lambda _: b"[" * 10_000 + b"]" * 10_000)
config_case(
    "deep objects", "nested deeper than 64", lambda _: b'{"a":' * 10_000 + b"1" + b"}" * 10_000
)
config_case("many values", "more than 2,000,000 values", lambda _: b"[" + b"1," * 3_000_000 + b"1]")
config_case("long number", "can't be read as JSON", lambda _: b'{"a": ' + b"9" * 10_000 + b"}")
config_case("nan", "the number NaN", lambda c: json.dumps({**c, "x": float("nan")}).encode())
config_case(
    "infinity", "the number Infinity", lambda c: json.dumps({**c, "x": float("inf")}).encode()
)
config_case("key twice", "a key stands twice", lambda _: b'{"config": 1, "config": 2}')
config_case("no json", "can't be read as JSON", lambda _: b"\x80\x04cos\nsystem\n")
config_case("a list", "holds no model", lambda _: b"[]")
config_case("a string", "holds no model", lambda _: b'"model"')


def _long(number: int) -> Callable[[Json], None]:
    def change(config: Json) -> None:
        layers = config["config"]["layers"]
        names = ["act", *(f"act_{i}" for i in range(number))]
        more = [layer("ReLU", b, [a]) for a, b in itertools.pairwise(names)]
        layers[5:5] = more

    return change


config_case("5,000 layers", "one of more than 4,000", _long(5000))


@case("a million layers", "config.json|more than")
def _million(folder: Path) -> Path:
    entry = json.dumps(layer("ReLU", "r", ["r"])).encode()
    return write_keras(
        folder / "x.keras", b'{"config": {"layers": [' + (entry + b",") * 100_000 + b"1]}}"
    )


@case("models in models", "nested more than 8 deep")
def _models_in_models(folder: Path) -> Path:
    entry = layer("ReLU", "r", [])
    for i in range(12):
        outer = {**layer("Sequential", f"s{i}", []), "module": "keras"}
        outer["config"] = {"name": f"s{i}", "layers": [entry]}
        entry = outer
    start = layer("InputLayer", "pixels", [], batch_shape=[None, 32, 32, 3])
    entry["config"]["layers"].insert(0, start)
    return write_keras(folder / "x.keras", entry)


# Bombs in the settings.
settings_case("huge filters", "filters = 1000000000", 2, filters=10**9)
settings_case(
    "weights not there",
    "smaller than the network's weights",
    2,
    filters=60_000,
    kernel_size=[32, 32],
)
settings_case("huge kernel", "kernel_size", 2, kernel_size=[10**9, 3])
settings_case("huge strides", "strides", 2, strides=[10**12, 2])
settings_case("negative strides", "strides", 2, strides=[-1, 2])
settings_case("no strides", "strides", 2, strides=[0, 0])
settings_case("true filters", "filters = True", 2, filters=True)
settings_case("filters as text", "filters = '8'", 2, filters="8")
settings_case("filters of a half", "filters = 8.5", 2, filters=8.5)
settings_case("groups", "groups of 3 channels", 2, groups=2)
settings_case("unknown padding", "padding", 2, padding="causal")
settings_case("channels first", "data_format", 2, data_format="channels_first")
settings_case("other axis", "axis = 1", 3, axis=1)
settings_case("huge epsilon", "epsilon", 3, epsilon=1e30)
settings_case("huge units", "units", 8, units=10**10)
settings_case("other channels", "expected RGB", 0, batch_shape=[None, 32, 32, 4])
settings_case("oblong", "expected square", 0, batch_shape=[None, 32, 64, 3])
settings_case("huge images", "expected square", 0, batch_shape=[None, 10**6, 10**6, 3])
settings_case("volumes", "expected RGB", 0, batch_shape=[None, 32, 32, 32, 3])
layer_case(
    "huge pool",
    "pool_size",
    class_name="MaxPooling2D",
    config={"name": "act", "pool_size": [10**9, 2]},
)
layer_case(
    "large pool",
    "window covers 4096",
    class_name="MaxPooling2D",
    config={"name": "act", "pool_size": [4096, 2]},
)
layer_case(
    "huge reshape",
    "can't make",
    class_name="Reshape",
    config={"name": "act", "target_shape": [10**6, 8]},
)
layer_case(
    "two unknown sides",
    "can't make",
    class_name="Reshape",
    config={"name": "act", "target_shape": [-1, -1]},
)
layer_case(
    "huge padding",
    "padding",
    class_name="ZeroPadding2D",
    config={"name": "act", "padding": [[10**9, 0], [0, 0]]},
)
layer_case(
    "large padding",
    "at most 33,554,432 numbers",
    class_name="ZeroPadding2D",
    config={"name": "act", "padding": [[4000, 0], [4000, 0]]},
)
layer_case(
    "all cropped",
    "its output would be",
    class_name="Cropping2D",
    config={"name": "act", "cropping": [[9, 9], [0, 0]]},
)
layer_case(
    "up-sampling",
    "at most 33,554,432 numbers",
    class_name="UpSampling2D",
    config={"name": "act", "size": [4096, 4096]},
)
layer_case(
    "huge resizing",
    "height",
    class_name="Resizing",
    config={"name": "act", "height": 10**9, "width": 1},
)
layer_case("large number", "max_value", config={"name": "act", "max_value": 1e300})


# Graphs that are none.
def _inputs(name: str) -> list[Json]:
    return [{"args": [tensor(name, [None])], "kwargs": {}}]


layer_case("cycle", "takes the output of 'deep', which is not there", inbound_nodes=_inputs("deep"))
layer_case("own input", "takes the output of 'act'", inbound_nodes=_inputs("act"))
layer_case("missing layer", "takes the output of 'gone'", inbound_nodes=_inputs("gone"))
layer_case("no inputs", "called 0 times", inbound_nodes=[])
layer_case("shared layer", "called 2 times", inbound_nodes=_inputs("norm") * 2)


def _training(config: Json) -> None:
    config["config"]["layers"][3]["inbound_nodes"][0]["kwargs"] = {"training": True}


config_case("training mode", "called with 'training'", _training)
layer_case("old calls", "saved by Keras 2", inbound_nodes=[[["norm", 0, 0, {}]]])
layer_case("name twice", "has the name of another", name="norm", config={"name": "norm"})
layer_case("two names", "another name in the graph", name="act", config={"name": "other"})
layer_case("name with slash", "name with a slash", name="a/../b", config={"name": "a/../b"})
layer_case("name of dots", "name with a slash", name="..", config={"name": ".."})
layer_case("name that breaks lines", "has the name", name="a\nb", config={"name": "a\nb"})
layer_case("long name", "has the name", name="a" * 10_000, config={"name": "a" * 10_000})


def _ends(**ends: Any) -> Callable[[Json], None]:
    return lambda config: config["config"].update(ends)


config_case("two outputs", "has 2 outputs", _ends(output_layers=[["head", 0, 0], ["pool", 0, 0]]))
config_case("two inputs", "has 2 inputs", _ends(input_layers=[["pixels", 0, 0], ["scale", 0, 0]]))
config_case("output elsewhere", "the output 'x'", _ends(output_layers=["x", 0, 0]))
config_case("input is a layer", "is no InputLayer", _ends(input_layers=["act", 0, 0]))
config_case("no layers", "without layers", _ends(layers=[]))
config_case("layers of nothing", "a layer that is none", _ends(layers=[None]))

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
