"""Turn the config of a Keras 3 model into a flat list of stock layers.

Nothing in the config is looked up, imported or called: names of classes are compared with a list. Nested
models are flattened, and the path of each layer's weights in the weights file is recorded.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

from pydantic import TypeAdapter, ValidationError

from tasks.vision.errors import BadInput
from tasks.vision.pretrained.graph.layer import Shape, ShapeError, check_elements
from tasks.vision.pretrained.graph.network import (
    DEFAULT_SIZE,
    MAX_LAYERS,
    LayerConfig,
    NetworkConfig,
    needed_layers,
)
from tasks.vision.pretrained.readers.keras_entries import Entry, ModelEntry, Tensor, read_model
from tasks.vision.pretrained.readers.keras_operations import operation
from tasks.vision.pretrained.readers.keras_settings import (
    IDENTITIES,
    NESTED,
    STOCK,
    Refused,
    Translated,
    translate,
)
from tasks.vision.text import printable

MAX_NESTING = 8  # models inside of models
ADAPTER: TypeAdapter[LayerConfig] = TypeAdapter(LayerConfig)
OPERATIONS = ("keras.src.ops.numpy", "keras.src.ops.nn")
APPLICATIONS = "keras.src.applications."  # their own layers, known by module and name
OWN_LAYERS = {
    ("convnext", "LayerScale"): "LayerScale",
    ("convnext", "StochasticDepth"): "Identity",
    ("inception_resnet_v2", "CustomScaleLayer"): "CustomScaleLayer",
}


@dataclass
class Graph:
    """What the walk has found.

    Attributes:
        layers: in order, each after its inputs. shapes: of every activation by its layer's name.
        paths: where the weights of a layer are in the weights file, `layers/conv2d`.
        constants: weights that stand in the config itself, by `layer/weight`.
    """

    input: str
    input_size: tuple[int, int] | None
    layers: list[LayerConfig] = field(default_factory=list)
    shapes: dict[str, Shape] = field(default_factory=dict)
    paths: dict[str, str] = field(default_factory=dict)
    keras_names: dict[str, str] = field(default_factory=dict)
    constants: dict[str, object] = field(default_factory=dict)

    def add(self, translated: Translated, name: str, scope: str, inputs: list[str]) -> str:
        """Append a layer and return its unique name."""
        for unique in (name, f"{scope}.{name}", f"{scope}.{name}.{len(self.layers)}"):
            if unique not in self.shapes:
                break
        if len(self.layers) >= MAX_LAYERS:
            raise Refused(f"is one of more than {MAX_LAYERS:,}, as no network of Keras has")
        values = {"kind": translated.kind, "name": unique, "inputs": inputs, **translated.settings}
        try:
            layer = ADAPTER.validate_python(_tuples(values))
        except ValidationError as error:
            raise Refused(_first(error)) from None
        try:
            shapes = [self.shapes[each] for each in inputs]
            layer.weight_shapes(shapes)
            shape = layer.output_shape(shapes)
            self.shapes[unique] = check_elements(shape)
        except ShapeError as error:
            raise Refused(str(error)) from None
        self.layers.append(layer)
        self.constants |= {f"{unique}/{key}": v for key, v in translated.constants.items()}
        return unique


def walk(document: object, origin: str) -> tuple[NetworkConfig, Graph]:
    """Return the network that a config.json describes, and where its weights are.

    Raises:
        BadInput: it has a layer or setting that relevo doesn't rebuild, or isn't one graph from one image to
            one output.
    """
    try:
        model = read_model(document)
        size = model.input_size
        graph = Graph(model.input, size)
        graph.shapes[model.input] = (*(size or (DEFAULT_SIZE, DEFAULT_SIZE)), 3)
        output = _Walk(graph).model(model, model.input, "", 0)
        layers = needed_layers(graph.layers, output)
        config = NetworkConfig(
            name=model.name, input=model.input, input_size=size, layers=layers, output=output
        )
    except Refused as error:
        raise BadInput(f"{origin}: {printable(error)}") from None
    except ValidationError as error:
        raise BadInput(f"{origin}: {printable(_first(error))}") from None
    return config, graph


class _Walk:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def model(self, model: ModelEntry, source: str, path: str, depth: int) -> str:
        """Add the layers of a model whose input is `source`; return the name of its output."""
        if depth > MAX_NESTING:
            raise Refused(f"models are nested more than {MAX_NESTING} deep, as no network is")
        counts: Counter[str] = Counter()
        known: dict[str, Tensor] = {model.input: source}
        for entry in model.layers:
            place = f"{path}layers/{_counted(entry.kind, counts)}" if entry.is_layer else ""
            if entry.name == model.input:
                continue
            try:
                known[entry.name] = self.entry(entry, known, model.name, place, depth)
            except Refused as error:
                raise Refused(f"layer {entry.name!r} ({entry.label}) {error}") from None
        output = known.get(model.output)
        if not isinstance(output, str) or output == source:
            raise Refused(f"the output {model.output!r} of {model.name!r} is no layer's")
        return output

    def entry(
        self, entry: Entry, known: dict[str, Tensor], scope: str, place: str, depth: int
    ) -> Tensor:
        """Add one layer; return what stands for its output."""
        if entry.name in known:
            raise Refused("has the name of another")
        arguments = entry.resolve(known)
        if entry.module in OPERATIONS:
            return operation(self.graph, entry, arguments, scope)
        inputs = [each for each in arguments if isinstance(each, str)]
        if len(inputs) != len(arguments) or not inputs:
            raise Refused("is called with something other than the outputs of layers")
        if entry.module in NESTED.get(entry.kind, ()):
            if len(inputs) != 1:
                raise Refused("has several inputs")
            return self.model(read_model(entry.document), inputs[0], f"{place}/", depth + 1)
        kind = self._stock_kind(entry)
        if kind in IDENTITIES:
            return inputs[0]
        if kind == "CustomScaleLayer":
            scale = Translated("Rescaling", {"scale": [entry.settings.get("scale")]})
            scaled = self.graph.add(scale, f"{entry.name}_scale", scope, inputs[1:])
            return self.graph.add(Translated("Add", {}), entry.name, scope, [inputs[0], scaled])
        translated = translate(kind, entry.settings, self.graph.shapes[inputs[0]])
        if translated.settings == {"activation": "linear"} and translated.kind == "Activation":
            return inputs[0]
        name = self.graph.add(translated, entry.name, scope, inputs)
        self.graph.paths[name] = place
        self.graph.keras_names[name] = entry.name
        return name

    def _stock_kind(self, entry: Entry) -> str:
        if entry.module == STOCK and entry.registered is None:
            return entry.kind
        family = (entry.module or "").removeprefix(APPLICATIONS)
        if (entry.module or "").startswith(APPLICATIONS) and (family, entry.kind) in OWN_LAYERS:
            return OWN_LAYERS[family, entry.kind]
        raise Refused("is no stock layer of Keras; custom layers are code, which relevo never runs")


def _counted(kind: str, counts: Counter[str]) -> str:
    """The name that Keras' weights file gives to the next layer of a class: conv2d, conv2d_1, ..."""
    base = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", kind))
    base = re.sub(r"([a-z])([A-Z])", r"\1_\2", base).lower()
    counts[base] += 1
    return base if counts[base] == 1 else f"{base}_{counts[base] - 1}"


def _tuples(value: object) -> object:
    """JSON's lists as tuples, which strict models expect."""
    if isinstance(value, list):
        return tuple(_tuples(each) for each in value)
    return {k: _tuples(v) for k, v in value.items()} if isinstance(value, dict) else value


def _first(error: ValidationError) -> str:
    """The first fault of a model's validation: which setting, what was expected, what was given."""
    fault = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in fault["loc"][1:]) or "its kind"
    given = repr(fault.get("input"))
    return f"has {where} = {given if len(given) <= 60 else given[:57] + '...'}: {fault['msg']}"
