"""Build the graph of a network that Keras names, as plain data; its weights come from a file.

Keras' own function builds it in a separate process: Keras numbers layers from the last one that the process
has built, and a large network's random weights would stay in memory.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path

from tasks.vision.errors import BadInput
from tasks.vision.files.download import cache_folder
from tasks.vision.files.replacing import replacing
from tasks.vision.pretrained.graph.network import NetworkConfig, PretrainedNetwork
from tasks.vision.pretrained.keras_applications.named_networks import NamedNetwork
from tasks.vision.pretrained.keras_applications.preprocessing import with_preprocessing
from tasks.vision.pretrained.keras_applications.weights_file import read_weights_file
from tasks.vision.pretrained.readers.keras_graph import Graph, walk

BUILD = """
import sys, keras
name, size = sys.argv[1], int(sys.argv[2])
settings = {"weights": None, "include_top": False, "pooling": "avg", "input_shape": (size, size, 3)}
print(getattr(keras.applications, name)(**settings).to_json())
"""


def graph_json(network: NamedNetwork) -> str:
    """Return Keras' JSON of a network's graph, built once for each version of Keras, since that takes seconds.

    Raises:
        BadInput: this version of Keras can't build it.
    """
    path = cache_folder() / f"{network.name}-keras-{version('keras')}.json"
    with suppress(OSError):
        return path.read_text("utf-8")
    text = _built(network)
    # If it can't be written, it is built again next time.
    with suppress(OSError), replacing(path) as new:
        new.write_text(text, "utf-8")
    return text


def _built(network: NamedNetwork) -> str:
    words = [BUILD, network.constructor, str(network.size)]
    ours = {"KERAS_BACKEND": "tensorflow", "KERAS_HOME": os.devnull, "MPLBACKEND": "agg"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", *words],
        capture_output=True,
        text=True,
        env={**os.environ, **ours, "CUDA_VISIBLE_DEVICES": ""},
    )
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or [f"status {done.returncode}"]
        raise BadInput(f"Keras can't build {network.start} here ({reason[0][:200]})")
    return done.stdout


@cache
def build_graph(network: NamedNetwork) -> tuple[NetworkConfig, Graph]:
    """Return a network of `keras.applications` up to its global average pooling, as Keras has it.

    Raises:
        BadInput: this version of Keras can't build it.
    """
    return walk(json.loads(graph_json(network)), network.start)


def read_named_network(network: NamedNetwork, weights: Path) -> PretrainedNetwork:
    """Return a network of `keras.applications` that begins with its own preprocessing.

    Args:
        weights: Keras' file of its weights (.h5).

    Raises:
        BadInput: the file's weights have other names or shapes, or this version of Keras can't build it.
    """
    config, graph = build_graph(network)
    tensors = read_weights_file(weights, config, graph, network.start)
    return PretrainedNetwork(with_preprocessing(config, network.preprocessing), tensors)
