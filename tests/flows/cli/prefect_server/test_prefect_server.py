"""`prefect_server/server.py` subclasses a private class of Prefect: is all that it relies on still there?"""

from __future__ import annotations

import inspect
from importlib.metadata import version

from packaging.specifiers import SpecifierSet
from packaging.version import Version
from prefect.client import orchestration
from prefect.server.api import server

WRITTEN_FOR = SpecifierSet(">=3.8.8,<3.9")
ADVICE = f"""
`flows.cli.prefect_server` was written for Prefect {WRITTEN_FOR} and subclasses its SubprocessASGIServer.
Compare OwnSession with the installed Prefect, run tests/flows/test_stop.py, then change WRITTEN_FOR."""


def test_prefect_is_of_the_versions_that_the_server_was_written_for() -> None:
    installed = Version(version("prefect"))
    assert installed in WRITTEN_FOR, f"Prefect {installed} is installed.{ADVICE}"


def test_prefect_has_every_private_that_the_server_uses() -> None:
    own = getattr(server, "SubprocessASGIServer", None)
    assert own, f"prefect.server.api.server.SubprocessASGIServer is gone.{ADVICE}"
    for name in ("find_available_port", "api_url", "_instances", "start", "stop"):
        assert hasattr(own, name), f"SubprocessASGIServer.{name} is gone.{ADVICE}"
    source = inspect.getsource(server)
    for used, where in (
        ("if not self.running:", inspect.getsource(own.start)),
        ("self.server_process.terminate()", inspect.getsource(own.stop)),
        ("cls._instances[port]", inspect.getsource(own.__new__)),
        ("SubprocessASGIServer()", inspect.getsource(orchestration)),
        ("def create_app(", source),
        ("PREFECT__SERVER_EPHEMERAL", source),
        ("PREFECT__SERVER_FINAL", source),
    ):
        assert used in where, f"Prefect no longer has {used!r}.{ADVICE}"
    assert "port" in vars(own(port=0)), f"SubprocessASGIServer has no port.{ADVICE}"
    own(port=0).stop()
