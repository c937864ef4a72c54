"""Time and memory of a run of 1,000 classes, against one of 10 with as many pictures.

python tests/benchmarks/many_classes.py [--classes 10 1000]
Beside training are preparation, scores, exports, figures and the report, and Prefect's temporary server.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image
from rich.table import Table
from turns import ask, child, show

SIZE = 16  # pixels
PICTURES = {"train": 10_000, "test": 2_000}
RECIPE = """
[data]
source = "{source}"
image_size = {size}
[defaults]
network = {{ widths = [8, 16, 16] }}
batch_size = 500
[stages.every_class]
epochs = 2
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--classes", type=int, nargs="+", default=[10, 1000])
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(given.measure)))
        return
    titles = ("wall s", "training s", "beside it s", "CPU s", "MiB of the largest process")
    table = Table("classes", *titles)
    for classes in given.classes:
        figures = ask(child("many_classes", "--measure", classes)).answer["figures"]
        table.add_row(f"{classes:,}", *(f"{figure:,.1f}" for figure in figures))
    show(table)


def measure(classes: int) -> dict[str, list[float]]:
    """Wall, training and other seconds, CPU seconds and peak memory of one run in an empty store."""
    with tempfile.TemporaryDirectory() as folder:
        archive, recipe = Path(folder, "pictures.zip"), Path(folder, "recipe.toml")
        write_pictures(archive, classes)
        recipe.write_text(RECIPE.format(source=archive, size=SIZE))
        run = [sys.executable, "-m", "flows", "run", recipe, "--store", f"{folder}/store", "--json"]
        turn = ask(run, PREFECT_HOME=f"{folder}/prefect")
        training = turn.answer["stages"]["every_class"]["seconds"]
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = usage.ru_utime + usage.ru_stime
    memory = usage.ru_maxrss / 1024
    return {"figures": [turn.seconds, training, turn.seconds - training, cpu, memory]}


def write_pictures(archive: Path, classes: int) -> None:
    """A picture of noise for each class, and more noise on each picture of it."""
    rng = np.random.default_rng(0)
    of_class = rng.integers(0, 200, (classes, SIZE, SIZE, 3), np.uint8)
    with zipfile.ZipFile(archive, "w") as file:
        for split, count in PICTURES.items():
            for index in range(count):
                label = index % classes
                picture = of_class[label] + rng.integers(0, 56, (SIZE, SIZE, 3), np.uint8)
                png = io.BytesIO()
                Image.fromarray(picture).save(png, "PNG", compress_level=1)
                file.writestr(f"{split}/class {label:04}/{index}.png", png.getvalue())


if __name__ == "__main__":
    main()
