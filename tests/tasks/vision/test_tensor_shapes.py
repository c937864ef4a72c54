"""The shapes that a card promises are those of the network that is built, so that a file bounds its memory."""

from __future__ import annotations

import resource
import subprocess
import sys

import numpy as np
import pytest
from support.cards import bare_card
from support.command import ROOT

from tasks.vision.errors import BadInput
from tasks.vision.network.networks import build_model
from tasks.vision.network.weights import named_variables
from tasks.vision.tensor_shapes import tensor_shapes
from tasks.vision.trained_model import Architecture, pack, unpack


def architecture(kind: str, widths: tuple[int, ...], size: int, features: str) -> Architecture:
    return Architecture.model_validate(
        {
            "network": {"kind": kind, "widths": widths},
            "image_size": size,
            "outputs": 5,
            "mean": (0.5,) * 3,
            "std": (0.2,) * 3,
            "features": features,
        }
    )


@pytest.mark.parametrize("features", ["last layer", "every layer"])
@pytest.mark.parametrize("size", [18, 32, 45])
@pytest.mark.parametrize(
    ("kind", "widths"),
    [
        ("airbench", (4,)),
        ("airbench", (4, 6, 8)),
        ("simple_cnn", (4,)),
        ("simple_cnn", (4, 6, 8)),
        ("simple_cnn", (4, 6, 8, 10)),
    ],
)
def test_tensor_shapes_are_those_of_the_network(
    kind: str, widths: tuple[int, ...], size: int, features: str
) -> None:
    about = architecture(kind, widths, size, features)
    if size < about.own_network.least_size:
        pytest.skip("the network needs larger images")
    built = {name: tuple(variable.shape) for name, variable in named_variables(build_model(about))}
    assert tensor_shapes(about.own_network, size, 5, features == "every layer") == built


def test_small_file_that_claims_a_large_network_is_refused_without_its_memory() -> None:
    """The widths are sizes of some tensor in the file, and yet the network isn't there."""
    about = architecture("airbench", (8192,) * 6, 512, "last layer")
    labels = list("abcde")
    content = pack(
        bare_card(about, labels, [[each] for each in labels]),
        {"head/kernel": np.zeros((8192, 0), np.float32)},
    )
    assert len(content) < 2000
    code = (
        "import sys; from tasks.vision.trained_model import unpack\n"
        "try: unpack(sys.stdin.buffer.read(), 'it')\n"
        "except ValueError as error: print(error, 'tensorflow' in sys.modules)"
    )

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))

    done = subprocess.run(
        [sys.executable, "-c", code],
        input=content,
        capture_output=True,
        cwd=ROOT,
        preexec_fn=limited,
        env={"OPENBLAS_NUM_THREADS": "1"},
    )
    assert b"not a relevo model" in done.stdout, done.stderr
    assert b"False" in done.stdout


@pytest.mark.parametrize("change", ["missing", "more", "shape"])
def test_model_with_other_tensors_than_its_network_is_refused(change: str) -> None:
    about = architecture("airbench", (4,), 16, "last layer")
    shapes = tensor_shapes(about.own_network, 16, 5, False)
    tensors = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    labels = list("abcde")
    card = bare_card(about, labels, [[each] for each in labels])
    assert unpack(pack(card, tensors), "it")[0] == card
    if change == "missing":
        del tensors["norm_1b/beta"]
    elif change == "more":
        tensors["more"] = np.zeros(1, np.float32)
    else:
        tensors["norm_1b/beta"] = np.zeros(5, np.float32)
    with pytest.raises(BadInput, match="not a relevo model"):
        unpack(pack(card, tensors), "it")
