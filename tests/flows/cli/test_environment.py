"""A run among settings that were made for other programs ends with the digests of an undisturbed one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.command import SMALL, Chain, Relevo, environment

pytestmark = pytest.mark.slow

PROXY = "http://127.0.0.1:9"  # no proxy is there
DISTURBED = {
    "HTTP_PROXY": PROXY,
    "HTTPS_PROXY": PROXY,
    "ALL_PROXY": "socks5://127.0.0.1:9",
    "SSL_CERT_FILE": "/absent.pem",
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "KERAS_BACKEND": "torch",
    "XLA_FLAGS": "--no_such_flag",
    "TF_XLA_FLAGS": "--no_such_flag",
}
KERAS = {"floatx": "float64", "backend": "jax", "image_data_format": "channels_first"}


def test_run_on_a_disturbed_machine_has_the_digest_of_an_undisturbed_one(
    chain: Chain, prefect_home: Path, tmp_path: Path
) -> None:
    folder, store = tmp_path / "here", tmp_path / "store"
    (folder / "keras").mkdir(parents=True)
    (folder / "keras/__init__.py").write_text("raise SystemExit('their keras')")
    (folder / "tasks.py").write_text("raise SystemExit('their tasks')")
    (folder / "matplotlibrc").write_text("text.usetex: True\nfont.size: 30\n")
    (folder / "keras.json").write_text(json.dumps(KERAS))
    words = [sys.executable, "-m", "flows", "run", "digits", "--stage", "baseline", *SMALL]
    done = subprocess.run(
        ["bash", "-c", 'exec "$@" <&- >&-', "bash", *words, "--store", str(store)],
        cwd=folder,
        env={**environment(prefect_home), **DISTURBED, "KERAS_HOME": str(folder)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "can't be drawn" not in done.stderr
    (run,) = (store / "runs").iterdir()
    stage = json.loads((run / "run.json").read_text())["stages"]["baseline"]
    expected = chain.first.json["stages"]["baseline"]
    assert stage["model_digest"] == expected["model_digest"]


BAD = {
    "damaged": (b"no database" * 1000, {}, "prefect.db can't be used (file is not a database)"),
    "forbidden": (
        b"",
        {"PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false"},
        "false in the variable PREFECT_SERVER_ALLOW_EPHEMERAL_MODE; set PREFECT_API_URL",
    ),
    "no proxy": (
        b"",
        {"PREFECT_API_URL": "https://prefect.invalid/api", "ALL_PROXY": "socks5://127.0.0.1:9"},
        "ALL_PROXY = 'socks5://127.0.0.1:9': socksio is not installed",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_run_without_a_usable_server_is_refused_in_one_line(
    case: str, relevo: Relevo, tmp_path: Path
) -> None:
    database, env, line = BAD[case]
    home = tmp_path / "prefect"
    home.mkdir()
    if database:
        (home / "prefect.db").write_bytes(database)
    done = relevo("run", "--store", str(tmp_path / "s"), env={"PREFECT_HOME": str(home), **env})
    assert done.status == 2, done.err
    assert line in done.err
    assert "Traceback" not in done.err
    assert not (tmp_path / "s/runs").exists()
