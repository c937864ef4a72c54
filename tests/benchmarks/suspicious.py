"""How many exchanged labels `relevo check` finds: 5 % of the training labels of photos, moved to other classes.

python tests/benchmarks/suspicious.py flowers5.zip efficientnet_lite0.keras [--share .05] [--seeds 1] [--clean]
Of each seed, the archive is copied to a scratch folder with some files of train in another class's folder, a
head is trained by `relevo run`, and `relevo check --json` lists the suspicious labels. `--clean` moves none.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import zipfile
from pathlib import Path
from statistics import mean

import numpy as np
from rich.table import Table
from turns import ask, check, show

RECIPE = """
[data]
source = "{source}"
image_size = {size}
[stages.all_classes]
start = "{model}"
train = "head"
controls = false
"""


def exchange(archive: str, copy: Path, share: float, seed: int) -> set[str]:
    """Copy an archive with some files of train in the folder of another class; return their new names."""
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(copy, "w") as target:
        names = [name for name in source.namelist() if not name.endswith("/")]
        train = sorted(name for name in names if name.split("/")[0] == "train")
        classes = sorted({name.split("/")[1] for name in train})
        random = np.random.default_rng(seed)
        chosen = random.choice(len(train), round(share * len(train)), replace=False)
        moved = {}
        for name in (train[i] for i in sorted(chosen)):
            _, label, file = name.split("/", 2)
            other = random.choice([each for each in classes if each != label])
            moved[name] = f"train/{other}/moved-{label}-{file}"
        for name in names:
            target.writestr(moved.get(name, name), source.read(name))
    return set(moved.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive")
    parser.add_argument("model")
    parser.add_argument("--share", type=float, default=0.05, help="of the training labels")
    parser.add_argument(
        "--most", type=int, default=200, help="suspicious labels that are looked at"
    )
    parser.add_argument("--size", type=int, default=224, help="pixels per side")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--clean", action="store_true", help="exchange none")
    parser.add_argument("--pages", type=Path, help="a folder for the pages")
    given = parser.parse_args()
    check(parser, given.archive)
    columns = (
        "seed",
        "exchanged",
        "called wrong",
        f"of the first {given.most}",
        "share",
        "check, s",
    )
    table, shares = Table(*columns), []
    for seed in range(given.seeds):
        with tempfile.TemporaryDirectory() as folder:
            copy, recipe = Path(folder, "photos.zip"), Path(folder, "recipe.toml")
            moved = exchange(given.archive, copy, 0 if given.clean else given.share, seed)
            model = Path(given.model).absolute()
            recipe.write_text(RECIPE.format(source=copy, model=model, size=given.size))
            store = ["--store", f"{folder}/store"]
            home = {"PREFECT_HOME": f"{folder}/prefect"}
            ask([sys.executable, "-m", "flows", "run", recipe, "--json", *store], **home)
            words = [sys.executable, "-m", "flows", "check", recipe, "--json", *store]
            if given.pages:
                words += ["--force", "--output", given.pages.absolute() / f"seed-{seed}.html"]
            turn = ask(words, **home)
        found = [
            each["file"] for each in turn.answer["findings"] if each["kind"] == "suspicious label"
        ]
        hits = len(moved & set(found[: given.most]))
        shares.append(hits / max(1, len(moved)))
        cells = (seed, len(moved), len(found), hits, f"{shares[-1]:.3f}", f"{turn.seconds:.1f}")
        table.add_row(*map(str, cells))
    table.add_row("mean", "", "", "", f"{mean(shares):.3f}", "")
    show(table)


if __name__ == "__main__":
    main()
