"""A model used without this project reads pictures of every kind to the same bits."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from support.images import write_folder
from support.pictures import deep, every_kind, png16

from tasks.vision.data.unlabelled import UnlabelledImages
from tasks.vision.export.reader import READER, reader
from tasks.vision.pictures import decode_pool
from tasks.vision.pictures.decode import decode

STRANGER = """
import sys
import numpy as np
from pathlib import Path
from read_image import UnreadableError, decode

files = sorted(Path(sys.argv[1]).iterdir())
seen = [decode(file.read_bytes(), 24, 12 if file.stem == "twelve" else 16) for file in files]
seen += [decode(file.read_bytes(), 24, fit="pad") for file in files]
np.save("seen.npy", seen)
try:
    decode(b"<html>", 24)
except UnreadableError as error:
    print(error)
print([name for name in sys.modules if name.split(".")[0] in ("tasks", "flows", "tensorflow")])
"""


def test_every_kind_has_the_same_pixels_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = every_kind()
    assert len(files) >= 60
    folder = write_folder(tmp_path / "photos", files)
    expected = {name: decode(data, 24) for name, data in files.items()}
    padded = {name: decode(data, 24, fit="pad") for name, data in files.items()}
    for many in (10**9, 10):  # in threads, in processes
        monkeypatch.setattr(decode_pool, "PROCESSES_FROM", many)
        given = [str(folder / name) for name in files]
        with UnlabelledImages(given) as images:
            (batch,), (whole,) = images.batches(24), images.batches(24, fit="pad")
        assert not batch.unreadable
        for path, image, more in zip(batch.names, batch.images, whole.images, strict=True):
            assert (image == expected[Path(path).name]).all(), path
            assert (more == padded[Path(path).name]).all(), path
    twelve = png16(deep(12, 3))
    (folder / "twelve.png").write_bytes(twelve)
    expected["twelve.png"] = decode(twelve, 24, 12)
    padded["twelve.png"] = decode(twelve, 24, fit="pad")
    (tmp_path / READER).write_bytes(reader())
    done = subprocess.run(
        [sys.executable, "-c", STRANGER, str(folder)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "an HTML page, not an image; download the image itself",
        "[]",
    ]
    seen = np.load(tmp_path / "seen.npy")
    for each, images in ((expected, seen[: len(expected)]), (padded, seen[len(expected) :])):
        for name, image in zip(sorted(each), images, strict=True):
            assert (image == each[name]).all(), name


def test_the_modules_in_one_file_share_no_name() -> None:
    """The later of two would replace the earlier."""
    tree = ast.parse(reader())
    names: Counter[str] = Counter()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names[node.name] += 1
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names.update(
                each.id for to in targets for each in ast.walk(to) if isinstance(each, ast.Name)
            )
    assert [name for name, count in names.items() if count > 1] == []
