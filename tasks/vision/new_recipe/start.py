"""The pretrained network that a draft starts from: a named one, or somebody's own Keras 3 file."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tasks.vision.errors import BadInput
from tasks.vision.new_recipe.draft import Start
from tasks.vision.pretrained.keras_applications.named_networks import named_network
from tasks.vision.pretrained.readers.foreign_formats import refuse_other_formats
from tasks.vision.pretrained.readers.keras_file import read_keras_file
from tasks.vision.recipe.names import IMAGENET, is_keras_file

NONE = "none"
MANY = 20_000  # pictures; for more, a network that takes half the time
FEW_START, MANY_START = f"{IMAGENET}efficientnet_v2_b0", f"{IMAGENET}mobilenet_v3_large"


def find_start(given: str, pictures: int) -> Start | None:
    """Return the network that `--start` names, or None for "none".

    Args:
        given: "none", "imagenet/NETWORK" or FILE.keras; "" chooses a network by the number of `pictures`.

    Raises:
        BadInput: there is no such network or file, or the file has no network that relevo rebuilds.
    """
    if given == NONE:
        return None
    if is_keras_file(given):
        path = Path(given)
        if not path.is_file():
            raise BadInput(f"--start {given}: there is no such file; expected a Keras 3 file")
        network = read_keras_file(path)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return Start(given, network.size, "a Keras 3 file of your own", digest)
    if given and not given.startswith(IMAGENET):
        if Path(given).is_file():
            refuse_other_formats(Path(given), f"--start {given}")
        raise BadInput(
            f"--start {given}: expected {IMAGENET}NETWORK, FILE.keras, RUN/STAGE or the folder of a "
            "trained model, or none"
        )
    named = named_network(given or (FEW_START if pictures < MANY else MANY_START))
    about = f"{named.weights.megabytes} MB are downloaded once, {named.licence}"
    return Start(named.start, named.size, about)
