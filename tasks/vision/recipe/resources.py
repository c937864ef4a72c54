"""Where a stage is trained and for how long: settings that change no result, and so are in no cache key."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

# A name of a work pool, as Prefect takes it; memory is a quantity as Kubernetes writes it.
POOL_NAME = r"^[A-Za-z0-9][A-Za-z0-9_. -]{0,59}$"
Pool = Annotated[str, Field(pattern=POOL_NAME)]
Memory = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,6}(Mi|Gi|Ti|M|G|T)$")]


class Resources(BaseModel):
    """What the machine that trains a stage must have, if workers train it, and how long that may take."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pool: Pool | None = Field(None, description="work pool whose workers train the stage")
    gpu: int | None = Field(
        None, ge=0, le=64, strict=True, description="GPUs of its job; as `devices` by default"
    )
    memory: Memory | None = Field(None, description="memory of its job, such as 32Gi")
    timeout_minutes: Annotated[int, Field(ge=1, le=1_000_000, strict=True)] = 24 * 60


RESOURCES = frozenset(Resources.model_fields)
