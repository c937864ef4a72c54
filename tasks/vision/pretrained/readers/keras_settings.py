"""Translate the settings of Keras' stock layers into ours; every other layer or setting is refused by name.

The list below is what a foreign file may use. A setting is translated, must have one fixed value, or has no
effect on a trained network (initialisers, regularisers, seeds); an unknown one is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from tasks.vision.pretrained.graph.layer import Shape

Settings = Mapping[str, object]
STOCK = "keras.layers"  # the module of stock layers in a file
NESTED = {  # a model as a layer of another
    "Functional": {"keras", "keras.models", "keras.src.models.functional"},
    "Sequential": {"keras", "keras.models", "keras.src.models.sequential"},
}
# What changes nothing once a network is trained: regularisation, and augmentation of training images.
IDENTITIES = {
    *("Dropout", "SpatialDropout1D", "SpatialDropout2D", "AlphaDropout", "ActivityRegularization"),
    *("GaussianNoise", "GaussianDropout", "Identity"),
    *("RandomFlip", "RandomRotation", "RandomZoom", "RandomTranslation", "RandomContrast"),
    *("RandomBrightness", "RandomHue", "RandomSaturation", "RandomColorJitter", "RandomShear"),
    *("RandomErasing", "RandomSharpness", "RandomPerspective", "RandomGaussianBlur"),
}
POLICIES = {"float32", "float16", "bfloat16", "float64", "mixed_float16", "mixed_bfloat16"}
# Without effect on a trained network.
IGNORED = {"name", "trainable", "dtype", "seed", "synchronized", "renorm_momentum", "init_values"}
IGNORED |= {"fill_mode", "fill_value", "projection_dim", "momentum"}
IGNORED_ENDS = ("_initializer", "_regularizer", "_constraint")
FIXED: dict[str, tuple[object, ...]] = {
    "data_format": ("channels_last", None),
    "renorm": (False,),
    "renorm_clipping": (None,),
    "rms_scaling": (False,),
    "invert": (False,),
    "quantization_config": (None,),
    "crop_to_aspect_ratio": (False,),
    "pad_to_aspect_ratio": (False,),
    "antialias": (False,),
}
RENAMED_ACTIVATIONS = {"swish": "silu", "hard_swish": "hard_silu"}


class Refused(ValueError):
    """A layer or setting that isn't on the list; the message says which."""


class Translated(NamedTuple):
    """Our kind of a layer and its settings; `constants` are weights that stand in the settings."""

    kind: str
    settings: dict[str, object]
    constants: dict[str, object] = {}  # noqa: RUF012


def translate(kind: str, given: Settings, shape: Shape) -> Translated:
    """Return our form of one stock layer, for a first input of this shape (without the batch).

    Raises:
        Refused: it is not on the list, or has a setting that isn't.
    """
    _check_dtype(given.get("dtype"))
    if kind not in LAYERS:
        raise Refused("is not among the layers that relevo rebuilds")
    names, finish = LAYERS[kind]
    for name, value in given.items():
        if name in names or name in IGNORED or name.endswith(IGNORED_ENDS):
            continue
        if name == "axis":
            _check_axis(value, shape)
        elif name not in FIXED:
            raise Refused(f"has the setting {name}, which relevo doesn't know")
        elif value not in FIXED[name] or isinstance(value, int) != isinstance(FIXED[name][0], int):
            raise Refused(f"has {name} = {_short(value)}; expected {FIXED[name][0]}")
    settings = {name: given[name] for name in names if name in given}
    if "activation" in settings:
        settings["activation"] = activation(settings["activation"])
    return finish(kind, settings)


def activation(value: object) -> object:
    """Our name of an activation.

    Raises:
        Refused: it is a function or an object, not a name.
    """
    if value is None:
        return "linear"
    if not isinstance(value, str):
        named = value.get("class_name") if isinstance(value, dict) else type(value).__name__
        raise Refused(f"has {_short(named)} as its activation; expected the name of a stock one")
    return RENAMED_ACTIVATIONS.get(value, value)


def _check_axis(value: object, shape: Shape) -> None:
    axis = value[0] if isinstance(value, list) and len(value) == 1 else value
    if isinstance(axis, bool) or axis not in (-1, len(shape)):
        raise Refused(f"has axis = {_short(value)}; expected the last one, the channels")


def _check_dtype(value: object) -> None:
    if isinstance(value, dict):
        config = value.get("config")
        name = config.get("name") if isinstance(config, dict) else None
        if (
            value.get("class_name") not in ("DTypePolicy", "FloatDTypePolicy")
            or value.get("module") != "keras"
        ):
            raise Refused(
                f"has the dtype policy {_short(value.get('class_name'))}; expected floats"
            )
        value = name
    if value is not None and (not isinstance(value, str) or value not in POLICIES):
        raise Refused(f"has the dtype {_short(value)}; expected floats, not quantised")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


Finish = Callable[[str, dict[str, object]], Translated]


def _plain(kind: str, settings: dict[str, object]) -> Translated:
    return Translated(kind, settings)


def _pooling(kind: str, settings: dict[str, object]) -> Translated:
    if settings.get("strides") is None:
        settings["strides"] = settings.get("pool_size")
    return Translated(kind, settings)


def _rescaling(kind: str, settings: dict[str, object]) -> Translated:
    return Translated(kind, {name: numbers(value) for name, value in settings.items()})


def numbers(value: object) -> list[object]:
    """Return a number, or nested lists of one row of numbers, as a list."""
    if isinstance(value, dict) and value.get("class_name") in ("__numpy__", "__tensor__"):
        config = value.get("config")
        value = config.get("value") if isinstance(config, dict) else None
    while isinstance(value, list) and len(value) == 1 and isinstance(value[0], list):
        value = value[0]
    return value if isinstance(value, list) else [value]


def _normalization(kind: str, settings: dict[str, object]) -> Translated:
    constants: dict[str, object] = {
        name: numbers(value) for name, value in settings.items() if value is not None
    }
    return Translated(kind, {}, constants)


def _leaky_relu(kind: str, settings: dict[str, object]) -> Translated:
    return Translated("ReLU", settings)


def _softmax(kind: str, settings: dict[str, object]) -> Translated:
    return Translated("Activation", {"activation": "softmax"})


def _prelu(kind: str, settings: dict[str, object]) -> Translated:
    return Translated(kind, {"shared_axes": settings.get("shared_axes") or []})


WINDOW = ("kernel_size", "strides", "padding", "dilation_rate", "activation", "use_bias")
LAYERS: dict[str, tuple[tuple[str, ...], Finish]] = {
    "Conv2D": ((*WINDOW, "filters", "groups"), _plain),
    "DepthwiseConv2D": ((*WINDOW, "depth_multiplier"), _plain),
    "SeparableConv2D": ((*WINDOW, "filters", "depth_multiplier"), _plain),
    "Dense": (("units", "activation", "use_bias"), _plain),
    "BatchNormalization": (("momentum", "epsilon", "center", "scale"), _plain),
    "LayerNormalization": (("epsilon", "center", "scale"), _plain),
    "GroupNormalization": (("groups", "epsilon", "center", "scale"), _plain),
    "Normalization": (("mean", "variance"), _normalization),
    "PReLU": (("shared_axes",), _prelu),
    "MaxPooling2D": (("pool_size", "strides", "padding"), _pooling),
    "AveragePooling2D": (("pool_size", "strides", "padding"), _pooling),
    "GlobalAveragePooling2D": (("keepdims",), _plain),
    "GlobalMaxPooling2D": (("keepdims",), _plain),
    "ZeroPadding2D": (("padding",), _plain),
    "Cropping2D": (("cropping",), _plain),
    "UpSampling2D": (("size", "interpolation"), _plain),
    "Resizing": (("height", "width", "interpolation"), _plain),
    "Rescaling": (("scale", "offset"), _rescaling),
    "Activation": (("activation",), _plain),
    "ReLU": (("max_value", "negative_slope", "threshold"), _plain),
    "LeakyReLU": (("negative_slope",), _leaky_relu),
    "ELU": (("alpha",), _plain),
    "Softmax": ((), _softmax),
    "Reshape": (("target_shape",), _plain),
    "Permute": (("dims",), _plain),
}
WITHOUT_SETTINGS = (
    *("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"),
    *("Concatenate", "Flatten", "LayerScale"),
)
LAYERS |= dict.fromkeys(WITHOUT_SETTINGS, ((), _plain))
