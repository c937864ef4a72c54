"""Create an object that nobody else has created, by one of S3's conditional writes."""

from __future__ import annotations

import time
from contextlib import suppress

from tasks.store.base import Missing, StoreError, Unavailable
from tasks.store.lease import NoConditionalWrites
from tasks.store.s3.objects import Objects

PAUSES = (0.1, 0.3, 1.0, 3.0)  # seconds between two attempts


def create_object(objects: Objects, key: str, content: bytes) -> bool:
    """Write an object unless there is one: then return False. If a response is lost, that one may be our own.

    Raises:
        StoreError: the service says that it has no conditional writes.
        Unavailable: it is out of reach, or refuses one writer because of another, and none has won.
    """
    for pause in PAUSES:
        try:
            with objects.errors(key):
                if objects.put_if(key, content, IfNoneMatch="*"):
                    return True
        except NoConditionalWrites:
            raise StoreError(
                f"store {objects.uri}: the service has no conditional writes (If-None-Match), without "
                "which two machines could both write what one alone may; use one that has them"
            ) from None
        with suppress(Missing), objects.errors(key):
            objects.get(key)["Body"].close()
            return False
        time.sleep(pause)
    raise Unavailable(f"store {objects.uri}: others are writing {key}, too; try again later")
