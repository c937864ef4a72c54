"""The audit of `.ci/run` fails on a finding alone, and says what it could not look up."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.command import ROOT

# In place of pip-audit: prints what the service's file holds, or ends as with a TLS error.
PROGRAM = """#!/bin/sh
for last; do :; done
cat "$(dirname "$0")/$last" 2>/dev/null || { echo "ssl.SSLError: no certificate" >&2; exit 1; }
"""
FINE = '{"dependencies": [{"name": "one", "version": "1", "vulns": []}%s], "fixes": []}'
BOTH = FINE % ', {"name": "two-x", "version": "2", "vulns": []}'
SKIPPED = FINE % ', {"name": "two-x", "skip_reason": "not found"}'
FAULT = '[{"id": "PYSEC-1", "fix_versions": ["3"]}]'


@pytest.mark.parametrize(
    ("pypi", "osv", "status", "last"),
    [
        (BOTH, "", 0, "2 packages looked up"),
        ("", BOTH, 0, "2 packages looked up"),
        (SKIPPED, BOTH, 0, "2 packages looked up"),
        (SKIPPED, "", 0, "WARNING: 1 of 2 packages were not looked up: two-x"),
        ("", "", 0, "WARNING: 2 of 2 packages were not looked up: one, two-x"),
        (BOTH.replace("[]", FAULT, 1), "", 1, "2 packages looked up"),
        (SKIPPED.replace("[]", FAULT, 1), "", 1, "WARNING: 1 of 2 packages"),
    ],
)
def test_audit_fails_on_a_finding_alone(
    pypi: str, osv: str, status: int, last: str, tmp_path: Path
) -> None:
    program = tmp_path / "pip-audit"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    for name, content in (("pypi", pypi), ("osv", osv)):
        if content:
            (tmp_path / name).write_text(content)
    (tmp_path / "pins.txt").write_text("# pins\none==1\nTwo_X==2\n")
    done = subprocess.run(
        [sys.executable, ROOT / ".ci/audit", tmp_path / "pins.txt"],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )
    assert done.returncode == status, done.stderr
    assert done.stdout.splitlines()[-1].startswith(last)
    assert ("PYSEC-1, fixed in 3" in done.stdout) == (status == 1)
