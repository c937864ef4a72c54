"""Hostile, damaged and other files are refused in one line, within memory, without reading anything else."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import hostile_archives, hostile_configs  # noqa: F401  (they register their cases)
from support.command import ROOT
from support.hostile_cases import CASES
from support.keras_files import hdf5, small_model, small_weights, write_keras
from support.mutations import mutations

from tasks.vision.errors import BadInput
from tasks.vision.pretrained.readers.keras_file import read_keras_file


@pytest.mark.parametrize("name", CASES)
def test_hostile_file_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    write, message = CASES[name]
    path = write(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(BadInput) as caught:
        read_keras_file(path)
    line = str(caught.value)
    assert re.search(message, line), line
    assert line.startswith(str(tmp_path)), line
    assert line.isprintable()
    assert len(line) < 600, line
    assert sorted(tmp_path.rglob("*")) == before


LIMITED = """
import resource, sys
from pathlib import Path
from tasks.vision.errors import BadInput
from tasks.vision.pretrained.readers.keras_file import read_keras_file
from support import hostile_archives, hostile_configs
from support.hostile_cases import CASES
allowed = []
def audit(event, arguments):
    if event == "open" and allowed and isinstance(arguments[0], (str, bytes)):
        path = str(arguments[0])
        installed = path.startswith((sys.prefix, sys.base_prefix))  # Python's own modules
        assert installed or path == allowed[0], f"{allowed[0]} opened {path}"
    elif event == "exec" and allowed:
        assert arguments[0].co_filename.startswith((sys.prefix, sys.base_prefix)), arguments
    elif event in ("socket.connect", "subprocess.Popen", "os.system", "compile", "os.remove"):
        assert not allowed, f"{allowed[0]}: {event} {arguments}"
sys.addaudithook(audit)
folder = Path(sys.argv[1])
paths = []
for i, (write, _) in enumerate(CASES.values()):
    (folder / str(i)).mkdir()
    paths.append(write(folder / str(i)))
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (256 << 20),) * 2)
refused = 0
for path in paths:
    allowed[:] = [str(path)]
    try:
        read_keras_file(path)
    except BadInput:
        refused += 1
    allowed.clear()
heavy = [name for name in ("tensorflow", "keras", "torch", "pickle5") if name in sys.modules]
print(refused, len(paths), heavy)
"""


def test_hostile_files_cost_little_memory_and_open_nothing_else(tmp_path: Path) -> None:
    """In 256 MiB more than an idle process has, without TensorFlow, with every opened file watched."""
    answer = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT}:{ROOT}/tests", "PATH": "/usr/bin:/bin"},
    )
    assert answer.stdout.split() == [str(len(CASES)), str(len(CASES)), "[]"], answer.stderr[-2000:]


CONFIG, WEIGHTS = json.dumps(small_model()).encode(), hdf5(small_weights())


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_mutated_file_is_refused_or_read(tmp_path: Path, data: st.DataObject) -> None:
    if data.draw(st.booleans()):
        path = write_keras(tmp_path / "x.keras", config=data.draw(mutations(CONFIG)))
    else:
        path = write_keras(tmp_path / "x.keras", weights=data.draw(mutations(WEIGHTS, 4096)))
    with contextlib.suppress(BadInput):
        assert read_keras_file(path).digest.startswith("sha256:")
