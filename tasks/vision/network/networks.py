"""The networks: a fast residual-free convolutional network, the classroom CNN, and their parts.

Every network maps uint8 images (n, size, size, 3) to float32 logits (n, outputs): one output for
a binary stage, else one per label. Layer names say what a layer is for: `head` is the last one,
everything before it is the backbone, and `act_*` layers are those whose values may serve as features.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from tasks.vision.data.batches.augment import evenly_spaced
from tasks.vision.data.images import Images, select
from tasks.vision.network.layers import (
    MICRO_BATCH,
    Convolution,
    FusedBatchNormalization,
    Pooling,
    silu,
)
from tasks.vision.recipe.schema import Network
from tasks.vision.tensor_shapes import GRID
from tasks.vision.trained_model import Architecture

HEAD = "head"
WHITEN = "whiten"
FEATURE_PREFIX = "act_"
STANDARDISE = "standardise"
SMALL = 32  # pixels per side: of larger images as many pixels are computed at a time, not as many images
PREDICT_BATCH = 1000  # small images that are predicted at a time
WHITENED = 5000  # small images whose patches are whitened; at least a tenth of it


def predict_batch(inputs: Images) -> int:
    """Return how many images, or features, are predicted at a time."""
    return _as_many_pixels(PREDICT_BATCH, inputs.shape[1]) if inputs.ndim == 4 else PREDICT_BATCH


def micro_batch(model: keras.Model, size: int) -> int | None:
    """Return how many large images are trained on at a time; None for as many as are normalised together."""
    if size <= SMALL or batch_norm_layers(model):
        return None
    return _as_many_pixels(MICRO_BATCH, size)


def _as_many_pixels(most: int, size: int) -> int:
    return max(1, min(most, most * SMALL**2 // size**2))


def batch_norm_layers(model: keras.Model) -> list[FusedBatchNormalization]:
    """Return the layers of `model` with moving statistics."""
    return [layer for layer in model.layers if isinstance(layer, FusedBatchNormalization)]


def build(
    network: Network, image_size: int | None, outputs: int, mean: list[float], std: list[float]
) -> keras.Model:
    """Build `network` for square images of `image_size` pixels; None leaves their size open.

    Args:
        image_size: None only for the fast network, which pools what is left of an image of any size.
        outputs: width of the head, 1 for a binary stage.
        mean, std: per channel, of pixel values scaled to 0..1; normalisation is part of the network.
    """
    images = keras.Input((image_size, image_size, 3), dtype="uint8", name="images")
    x = keras.layers.Rescaling(
        scale=[1 / (255 * s) for s in std],
        offset=[-m / s for m, s in zip(mean, std, strict=True)],
        dtype="float32",
        name="normalise",
    )(images)
    body = _airbench if network.kind == "airbench" else _simple_cnn
    x = body(x, network.widths)
    logits = keras.layers.Dense(
        outputs, use_bias=network.kind != "airbench", dtype="float32", name=HEAD
    )(x)
    if network.kind == "airbench":
        logits = keras.layers.Rescaling(network.logit_scale, dtype="float32", name="logits")(logits)
    return keras.Model(images, logits, name=network.kind)


def _airbench(x: Any, widths: tuple[int, ...]) -> Any:
    """Whitening and one block per width, after cifar10-airbench (Jordan, arXiv 2404.00498, sec. 3)."""
    layers = keras.layers
    whiten = layers.Conv2D(24, 2, padding="valid", name=WHITEN)
    x = whiten(x)
    # `initialise` computes it from the images. Its bias stays zero too: after normalisation, its
    # gradient is below bfloat16's rounding error, and training on that noise diverges.
    whiten.trainable = False
    x = layers.Activation(silu, name="act_whiten")(x)
    for block, width in enumerate(widths, 1):
        for half in "ab":
            name = f"{block}{half}"
            x = Convolution(width, name=f"conv_{name}")(x)
            if half == "a":
                x = Pooling(name=f"pool_{name}")(x)
            x = FusedBatchNormalization(momentum=0.6, epsilon=1e-5, name=f"norm_{name}")(x)
            x = layers.Activation(silu, name=f"{FEATURE_PREFIX}{name}")(x)
    return layers.GlobalMaxPooling2D(name="pool")(x)


def _simple_cnn(x: Any, widths: tuple[int, ...]) -> Any:
    """The exercise's CNN: convolutions with pooling between them, then one dense layer."""
    layers = keras.layers
    *convolutions, dense = widths
    for i, width in enumerate(convolutions, 1):
        x = layers.Conv2D(width, 3, activation="relu", name=f"{FEATURE_PREFIX}conv_{i}")(x)
        if i < len(convolutions):
            x = layers.MaxPooling2D(2, name=f"pool_{i}")(x)
    x = layers.Flatten(name="flatten")(x)
    return layers.Dense(dense, activation="relu", name=f"{FEATURE_PREFIX}dense")(x)


def build_model(architecture: Architecture) -> keras.Model:
    """The network that `architecture` describes, uint8 images to float32 logits, weights unset."""
    # The size is left open where a stage may begin with smaller images.
    any_size = architecture.network.kind == "airbench" and architecture.features == "last layer"
    model = build(
        architecture.own_network,
        None if any_size else architecture.image_size,
        architecture.outputs,
        list(architecture.mean),
        list(architecture.std),
    )
    if architecture.features == "last layer":
        return model
    layers = [layer for layer in model.layers if layer.name.startswith(FEATURE_PREFIX)]
    features = keras.layers.Concatenate(name="every_layer", dtype="float32")(
        [pooled(layer) for layer in layers]
    )
    # Frozen batch normalisation is a standardisation whose mean and variance are variables.
    standardise = keras.layers.BatchNormalization(
        center=False, scale=False, epsilon=1e-10, trainable=False, dtype="float32", name=STANDARDISE
    )
    x = standardise(features)
    logits = keras.layers.Dense(architecture.outputs, dtype="float32", name=HEAD)(x)
    return keras.Model(model.input, logits, name=f"{model.name}_every_layer")


def pooled(layer: keras.Layer, dtype: str | None = None) -> Any:
    """Return the mean over a 3x3 grid of a layer's map, flattened; vectors are unchanged."""
    x, name = layer.output, layer.name
    if len(x.shape) == 2:
        return x
    side = x.shape[1]
    if side > GRID:
        x = keras.layers.AveragePooling2D(side // GRID, dtype=dtype, name=f"{name}_grid")(x)
    if rest := max(0, x.shape[1] - GRID):
        x = keras.layers.Cropping2D(((0, rest), (0, rest)), dtype=dtype, name=f"{name}_crop")(x)
    return keras.layers.Flatten(dtype=dtype, name=f"{name}_flat")(x)


def freeze_blocks(model: keras.Model, count: int) -> None:
    """Freeze the first `count` blocks of the fast network, their moving statistics included.

    Their features are general (Yosinski et al., arXiv 1411.1792), and a step without their backward
    pass, over the largest images, costs much less.
    """
    frozen = tuple(f"_{block}{half}" for block in range(1, count + 1) for half in "ab")
    for layer in model.layers:
        if layer.name.endswith(frozen):
            layer.trainable = False


def initialise(model: keras.Model, images: Images | None, seed: int) -> None:
    """Set every weight from `seed`, and the whitening layer from `images` (n, size, size, 3) uint8.

    3x3 kernels start as a partial identity, U(+-1/sqrt(fan in)) elsewhere; the whitening kernel
    holds the eigenvectors of the uncentred second moment of 2x2 patches and their negatives
    (arXiv 2404.00498, sec. 3.1-3.2). Classroom layers have Keras' own Glorot uniform. Without images
    the whitening kernel is left unset, to be loaded from another model.
    """
    rng = np.random.default_rng([seed, 0x1217])
    for layer in model.layers:
        if layer.name == WHITEN:
            if images is None:
                continue
            most = max(WHITENED // 10, _as_many_pixels(WHITENED, images.shape[1]))
            sample = np.asarray(select(images, evenly_spaced(len(images), most)))
            normalised = model.get_layer("normalise")(sample).numpy()
            layer.kernel.assign(_whitening_kernel(normalised))
            layer.bias.assign(np.zeros(layer.bias.shape, np.float32))
        elif isinstance(layer, keras.layers.Conv2D | keras.layers.Dense):
            fast = not layer.use_bias
            layer.kernel.assign(_kernel(rng, tuple(layer.kernel.shape), partial_identity=fast))
            if layer.use_bias:
                layer.bias.assign(np.zeros(layer.bias.shape, np.float32))


def _kernel(rng: np.random.Generator, shape: tuple[int, ...], partial_identity: bool) -> np.ndarray:
    fan_in, fan_out = int(np.prod(shape[:-1])), shape[-1] * int(np.prod(shape[:-2]))
    bound = fan_in**-0.5 if partial_identity else (6 / (fan_in + fan_out)) ** 0.5
    kernel = rng.uniform(-bound, bound, shape).astype(np.float32)
    if partial_identity and len(shape) == 4:
        channels = min(shape[2], shape[3])
        kernel[:, :, :, :channels] = 0
        kernel[shape[0] // 2, shape[1] // 2, range(channels), range(channels)] = 1
    if partial_identity and len(shape) == 2:
        kernel /= kernel.std()
    return kernel


def _whitening_kernel(normalised: np.ndarray, size: int = 2, epsilon: float = 5e-4) -> np.ndarray:
    """Eigenvectors of all patches' second moment, scaled to unit variance: (2, 2, 3, 24)."""
    patches = np.lib.stride_tricks.sliding_window_view(normalised, (size, size), axis=(1, 2))
    rows = patches.transpose(0, 1, 2, 4, 5, 3).reshape(-1, size * size * 3).astype(np.float64)
    values, vectors = np.linalg.eigh(rows.T @ rows / len(rows))
    # Largest first; the sign, which is arbitrary, is fixed below by the largest entry.
    vectors = vectors[:, ::-1] / np.sqrt(values[::-1] + epsilon)
    # Grey images span a third of the directions. A filter for another direction would be a dead channel,
    # whose normalisation amplifies rounding errors layer by layer: repeat the live ones instead.
    live = max(1, int((values > epsilon / 10).sum()))
    vectors = vectors[:, np.arange(vectors.shape[1]) % live]
    vectors *= np.sign(vectors[np.abs(vectors).argmax(0), range(vectors.shape[1])])
    kernel = np.concatenate([vectors, -vectors], axis=1)
    return kernel.reshape(size, size, 3, -1).astype(np.float32)
