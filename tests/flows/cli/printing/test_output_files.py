"""What a command writes is complete, or what was there before."""

from __future__ import annotations

import os
import resource
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from support.command import ROOT

from flows.cli.printing.output_files import write_output
from tasks.vision.errors import BadInput


def test_full_disk_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    old = tmp_path / "seen.csv"
    old.write_text("old")

    def full() -> None:  # writes beyond 64 KiB fail, as on a full disk
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))

    code = (
        "import pathlib, sys; from flows.cli.printing.output_files import write_output\n"
        "write_output('--csv', pathlib.Path(sys.argv[1]), bytes(1 << 20))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(old)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        preexec_fn=full,
    )
    assert "--csv" in done.stderr
    assert "can't be written" in done.stderr
    assert old.read_text() == "old"
    assert list(tmp_path.iterdir()) == [old]


def test_mode_and_link_of_an_old_file_stay(tmp_path: Path) -> None:
    real, link = tmp_path / "real.csv", tmp_path / "link.csv"
    real.write_text("old")
    real.chmod(0o640)
    link.symlink_to(real)
    write_output("--csv", link, b"new")
    assert link.is_symlink()
    assert real.read_text() == "new"
    assert stat.S_IMODE(real.stat().st_mode) == 0o640


def test_new_file_has_the_mode_of_the_umask(tmp_path: Path) -> None:
    mask = os.umask(0o027)
    try:
        write_output("--csv", tmp_path / "new.csv", b"")
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "new.csv").stat().st_mode) == 0o640


def test_a_device_is_written_and_stays(tmp_path: Path) -> None:
    write_output("--csv", Path("/dev/null"), b"rows")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
    with pytest.raises(BadInput, match=r"--csv .*can't be written"):
        write_output("--csv", tmp_path / "absent" / "new.csv", b"")
