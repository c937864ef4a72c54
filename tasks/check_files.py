"""Task: check the formats, modes and sizes of a data set's picture files."""

from __future__ import annotations

from tasks.cache.cached_task import Published, cached_task
from tasks.io.findings import load_findings, publish_findings
from tasks.io.locations import find_data
from tasks.progress import Event, emit
from tasks.store.base import Ref, Store
from tasks.vision.check.files import look_at_files
from tasks.vision.check.findings import FileFindings


@cached_task
def check_files(given: str, image_size: int, store: Store) -> Published:
    """Read the headers of all picture files.

    Args:
        image_size: of the prepared images.
    """
    emit(Event("check files", "reading the sizes of all pictures"))
    found = look_at_files(find_data(given), image_size)
    return Published(ref=publish_findings(found, store, ()))


def load_checked_files(ref: Ref, store: Store) -> Published:
    """Return the findings at `ref`. Raises ValueError if there is something else."""
    load_findings(FileFindings, ref, store)
    return Published.of(ref)
