"""Refuse work that another version of relevo has dispatched: a fleet runs one version at a time."""

from __future__ import annotations

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from tasks.cache.code import own_version

EARLIER = "an earlier version, which doesn't say which it is"


class OtherVersion(RuntimeError):
    """The run that dispatched this one has another version of relevo; the message names both."""


class DispatchedInputs(BaseModel):
    """Inputs that a run sends with the work that it dispatches, and the version of relevo that sends them."""

    model_config = ConfigDict(extra="forbid")

    version: str = Field(default_factory=own_version, max_length=100)


def check_version(inputs: object) -> object:
    """Return the inputs of a dispatched run as they are, before anything else about them is checked.

    Raises:
        OtherVersion: another version of relevo has sent them.
    """
    if isinstance(inputs, dict) and (sent_by := inputs.get("version")) != own_version():
        raise OtherVersion(
            f"this worker has relevo {own_version()}, but the run that dispatched the stage has "
            f"{sent_by or EARLIER}; install one version everywhere, restart the workers, and start "
            "the run again"
        )
    return inputs


OfThisVersion = BeforeValidator(check_version)
