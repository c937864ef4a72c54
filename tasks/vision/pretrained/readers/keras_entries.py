"""The entries of a Keras model's config: which layer, with which settings, called with what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from tasks.vision.pretrained.graph.layer import MAX_NAME, MAX_SETTING
from tasks.vision.pretrained.readers.keras_settings import NESTED, Refused

KERAS_2 = "saved by Keras 2; open it there and save it with Keras 3: model.save('x.keras')"


class Channel(NamedTuple):
    """One channel of an activation, which only the preprocessing of RGB to BGR makes."""

    source: str
    number: int


Tensor = str | Channel
Argument = Tensor | float | list[object] | dict[str, object] | None


@dataclass(frozen=True)
class Entry:
    """A layer or operation as the config has it.

    Attributes:
        document: the whole entry, for a model inside of a model. calls: what it was called with, None for an
            entry of a Sequential, whose input is the entry before it.
    """

    name: str
    kind: str
    module: str | None
    registered: str | None
    settings: dict[str, object]
    document: object
    calls: list[object] | None
    before: str | None = None

    @property
    def label(self) -> str:
        """Its class as a message names it."""
        custom = self.registered if self.registered not in (None, self.kind) else None
        return custom or (self.kind if len(self.kind) <= MAX_NAME else "a very long name")

    @property
    def is_layer(self) -> bool:
        """Whether it counts among the layers of the weights file; operations don't."""
        return not (self.module or "").startswith("keras.src.ops.")

    def resolve(self, known: dict[str, Tensor]) -> list[Argument]:
        """Return what it was called with: names of activations, channels and constants.

        Raises:
            Refused: it was called several times, in training mode, or with what isn't there.
        """
        if self.calls is None:
            return [_known(self.before, known)]
        if len(self.calls) != 1:
            raise Refused(f"is called {len(self.calls)} times; expected once: no shared layers")
        call = self.calls[0]
        if isinstance(call, list):
            raise Refused(f"is {KERAS_2}")
        if not isinstance(call, dict) or not isinstance(call.get("args"), list):
            raise Refused("is called in an unknown way")
        kwargs = call.get("kwargs") or {}
        if not isinstance(kwargs, dict):
            raise Refused("is called in an unknown way")
        for name, value in kwargs.items():
            # The code that applies the model sets `training` anyway; Keras notes True for augmentation.
            mode = name == "training" and (not value or self.kind != "BatchNormalization")
            if not (value is None or mode):
                raise Refused(f"is called with {name!r}; expected inputs alone")
        args = call["args"]
        if len(args) == 1 and isinstance(args[0], list):
            args = args[0]
        return [_argument(each, known) for each in args]


def _argument(value: object, known: dict[str, Tensor]) -> Argument:
    if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
        config = value.get("config")
        history = config.get("keras_history") if isinstance(config, dict) else None
        if not isinstance(history, list) or len(history) != 3:
            raise Refused("is called with an unknown tensor")
        name, node, index = history
        if node not in (0, 1) or index != 0:
            raise Refused("uses one of several outputs; expected layers that are called once")
        return _known(name, known)
    if value is None or isinstance(value, (int, float, list, dict)):
        return value
    raise Refused("is called with something other than the outputs of layers")


def _known(name: object, known: dict[str, Tensor]) -> Tensor:
    if not isinstance(name, str) or name not in known:
        shown = repr(name)[:60]
        raise Refused(f"takes the output of {shown}, which is not there before it")
    return known[name]


@dataclass(frozen=True)
class ModelEntry:
    """A Functional or Sequential model: its entries in order, the name of its input and its output."""

    name: str
    input: str
    input_shape: object
    layers: list[Entry]
    output: str

    @property
    def input_size(self) -> tuple[int, int] | None:
        """Height and width of the images that it takes; None where it takes any.

        Raises:
            Refused: it takes something else than square RGB images.
        """
        return _size(self.input_shape)


def read_model(document: object) -> ModelEntry:
    """Return a model's entries.

    Raises:
        Refused: it is no Functional or Sequential model from one image to one output.
    """
    if not isinstance(document, dict) or not isinstance(document.get("config"), dict):
        raise Refused("config.json holds no model; save the model again with model.save('x.keras')")
    kind, module, config = document.get("class_name"), document.get("module"), document["config"]
    if "module" not in document:
        raise Refused(f"config.json was {KERAS_2}")
    if not isinstance(kind, str) or module not in NESTED.get(kind, ()):
        shown = str(document.get("registered_name") or kind)[:60]
        raise Refused(
            f"the model is a {shown}; expected a Functional or Sequential model: a class of its own is code, "
            "which relevo never runs"
        )
    name, layers = config.get("name"), config.get("layers")
    if not isinstance(name, str) or not isinstance(layers, list) or not layers:
        raise Refused("config.json holds a model without layers")
    if kind == "Sequential":
        return _sequential(name, layers, config)
    entries = [_entry(each) for each in layers]
    inputs = _endpoints(config.get("input_layers"), "input")
    first = next((entry for entry in entries if entry.name == inputs), None)
    if first is None or first.kind != "InputLayer":
        raise Refused(f"the input {inputs!r} of {name!r} is no InputLayer")
    if extra := [e.name for e in entries if e.kind == "InputLayer" and e is not first]:
        raise Refused(f"model {name!r} has a second input, {extra[0]!r}; expected one image")
    output = _endpoints(config.get("output_layers"), "output")
    return ModelEntry(name, inputs, first.settings.get("batch_shape"), entries, output)


def _sequential(name: str, layers: list[object], config: dict[str, object]) -> ModelEntry:
    entries, before = [], f"{name}_input"
    shape = config.get("build_input_shape")
    source = before
    for i, each in enumerate(layers):
        entry = _entry(each, before)
        if entry.kind == "InputLayer":
            if i:
                raise Refused(f"layer {entry.name!r} (InputLayer) is not the first")
            shape = entry.settings.get("batch_shape")
            continue
        entries.append(entry)
        before = entry.name
    if not entries:
        raise Refused("config.json holds a model without layers")
    return ModelEntry(name, source, shape, entries, before)


def _entry(value: object, before: str | None = None) -> Entry:
    if not isinstance(value, dict):
        raise Refused("config.json holds a layer that is none")
    kind, settings, module = value.get("class_name"), value.get("config"), value.get("module")
    registered, calls = value.get("registered_name"), value.get("inbound_nodes")
    if not isinstance(kind, str) or not isinstance(settings, dict):
        raise Refused(f"config.json holds a layer without class and settings: {str(value)[:60]}")
    name = settings.get("name")
    if not isinstance(name, str) or not 1 <= len(name) <= MAX_NAME or not name.isprintable():
        raise Refused(f"a layer ({kind[:MAX_NAME]}) has the name {str(name)[:60]!r}")
    if "/" in name or "\\" in name or name in (".", ".."):
        raise Refused(f"layer {name!r} has a name with a slash; rename it")
    if not isinstance(module, str | None) or not isinstance(registered, str | None):
        raise Refused(f"layer {name!r} has an unknown module")
    if before is None and value.get("name", name) != name:
        raise Refused(f"layer {name!r} has another name in the graph")
    if before is not None:
        calls = None
    elif not isinstance(calls, list):
        raise Refused(f"layer {name!r} is called in an unknown way")
    return Entry(name, kind, module, registered, settings, value, calls, before)


def _endpoints(value: object, what: str) -> str:
    """The name of the only input or output: ["name", 0, 0], or that in a list or dict."""
    while isinstance(value, list | dict) and len(value) == 1:
        value = next(iter(value.values())) if isinstance(value, dict) else value[0]
    if isinstance(value, list) and len(value) == 3 and isinstance(value[0], str):
        return value[0]
    have = len(value) if isinstance(value, list | dict) else "no"
    raise Refused(f"the model has {have} {what}s; expected one {what}")


def _size(shape: object) -> tuple[int, int] | None:
    """Height and width of an input; None where any is taken."""
    if not isinstance(shape, list) or len(shape) != 4 or shape[3] != 3:
        raise Refused(f"the model takes {shape}; expected RGB images: [null, height, width, 3]")
    height, width = shape[1], shape[2]
    if height is None and width is None:
        return None
    sides = [s for s in (height, width) if type(s) is int and 1 <= s <= MAX_SETTING]
    if len(sides) != 2 or height != width:
        raise Refused(f"the model takes images of {height} x {width}; expected square ones")
    return sides[0], sides[1]
