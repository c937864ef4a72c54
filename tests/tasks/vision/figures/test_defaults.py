"""Figures are the same whatever a notebook's MPLBACKEND or a matplotlibrc asks for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from support.command import ROOT

DRAW = """
import hashlib, os, sys
from tasks.vision.figures.defaults import matplotlib_defaults
with matplotlib_defaults():
    from tasks.vision.figures.curves import class_distribution
    from tasks.vision.figures.style import png
    figure = class_distribution(["a_b", "c"], {"train": [3, 4], "test": [1, 2]})
    print(hashlib.sha256(png(figure)).hexdigest(), os.environ.get("MPLBACKEND"))
import matplotlib
print(matplotlib.rcParams["text.usetex"])
"""


def test_figures_depend_on_no_setting_of_matplotlib(tmp_path: Path) -> None:
    notebook = "module://matplotlib_inline.backend_inline"

    def draw(**env: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", DRAW],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), **env},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    plain = draw()
    assert plain[1:] == ["None", "False"]
    (tmp_path / "matplotlibrc").write_text(
        "text.usetex: True\nfont.size: 30\nsavefig.bbox: tight\nbackend: module://nowhere\n"
    )
    assert draw(MPLBACKEND=notebook) == [plain[0], notebook, "True"]
