"""What `relevo run` and `relevo sweep` do around their flows: check where it runs, and show its progress."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from flows.cli.prefect_server.server import quiet_prefect
from flows.cli.printing.progress_bar import ProgressDisplay
from tasks.progress import Event, listening
from tasks.store.marker import check_store
from tasks.store.opening import open_store
from tasks.vision.recipe.recipe import Recipe


def check_device(recipe: Recipe, dispatch: str) -> None:
    """Check that this machine has the GPU that the recipe requires, unless workers train.

    Raises:
        BadInput: it has none.
    """
    if recipe.require_gpu and dispatch == "inline":
        from tasks.vision.device import require_gpu

        require_gpu()


def check_results_store(address: str) -> None:
    """Check that results can be stored at an address.

    Raises:
        BadInput: the folder holds other files. StoreError: it can't be written, or is out of reach.
    """
    opened = open_store(address)
    opened.check()
    check_store(opened)


@contextmanager
def running_flow(dispatch: str) -> Iterator[None]:
    """Connect to Prefect's server, or start a temporary one to train inline, and show the flow's progress."""
    display = ProgressDisplay()
    prefect = quiet_prefect(
        own_server=dispatch == "inline",
        say=lambda line: display(Event("prefect", line)),
        meanwhile=_import_trainings,
    )
    with prefect, display, listening(display):
        yield


def _import_trainings() -> None:
    """Import what takes seconds; the temporary server's start takes another core as long."""
    import flows.experiment  # noqa: F401
    from tasks.vision.device import loading_tensorflow

    with loading_tensorflow():
        import tasks.vision.training.stage  # noqa: F401
