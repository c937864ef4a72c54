"""Silence for code below Python that writes to standard error and can't be asked not to."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_output() -> Iterator[None]:
    """Send what C++ libraries and child processes write to standard output and error nowhere.

    What fails inside still raises; processes started inside keep their silence.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        yield
    finally:
        for target, old in zip((1, 2), kept, strict=True):
            os.dup2(old, target)
            os.close(old)
        os.close(nowhere)
