"""The one cache: what a hit means, and which faults are worth a retry.

Prefect's result cache holds refs and the store holds bytes; the keys are made in `keys.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from prefect import State, Task, task
from prefect.filesystems import WritableFileSystem
from prefect.results import ResultRecord, ResultRecordMetadata  # type: ignore[attr-defined]
from prefect.serializers import JSONSerializer
from prefect.task_engine import TaskRunTimeoutError
from prefect.tasks import exponential_backoff

from tasks.cache.records import Done, Work, read_record, seal, unseal
from tasks.progress import Event, emit
from tasks.store.base import Missing, Ref, StoreError, Unavailable
from tasks.store.opening import open_store
from tasks.store.outages import retry_for

SERIALIZER = JSONSerializer(object_encoder=None, object_decoder=None)


class Shelf(WritableFileSystem):
    """Prefect's result records, kept in the project's store under `cache/`, in a form of our own.

    A record is a hit only if it is as it was written, a plain JSON ref of the key that was asked
    for, whose bytes are there and whole; any other is set aside and counts as a miss. Prefect never
    sees bytes of the store: it unpickles what a record tells it to, so what it gets is made here, of
    values that were checked.
    """

    _block_type_slug = "relevo-shelf"

    store: str

    def _resolve_path(self, path: str) -> None:
        """Prefect asks for a local path to name its records by; here a record's key is its name."""

    def read_path(self, path: str, _sync: bool = True) -> bytes:  # type: ignore[override]
        """The record under this key. Raises ValueError (a miss to Prefect) if it is no hit."""
        # Prefect takes whatever is raised here for a miss: a store out of reach must be waited for.
        with retry_for():
            done = self._whole_record(f"cache/{path}.json", path)
        metadata = ResultRecordMetadata(storage_key=path, serializer=SERIALIZER)
        return ResultRecord(metadata=metadata, result=done.model_dump(mode="json")).serialize()

    def _whole_record(self, key: str, path: str) -> Done:
        store = open_store(self.store)
        content = store.read(key)
        try:
            done = read_record(unseal(content))
            if Work(path.rsplit("-", 1)[0], done.ingredients).key != path:
                raise ValueError("it belongs to another key")
        except ValueError as error:
            aside = store.set_aside(key)
            emit(Event("cache", f"{key} is damaged ({error}); moved to {aside}, computing again"))
            raise
        try:
            store.fetch(done.ref)
        except Unavailable:
            raise  # out of reach is not damaged
        except Missing:
            emit(Event("cache", f"{done.ref.uri} is gone from the store; computing again"))
            raise
        except StoreError as error:
            aside = store.set_aside(done.ref.uri)
            emit(Event("cache", f"{error}; moved to {aside}, computing again"))
            raise
        store.touch(key)  # what is in use is not garbage
        return done

    def holds(self, path: str) -> bool:
        """Whether there is a record under this key."""
        with suppress(Missing), retry_for():
            return bool(open_store(self.store).read(f"cache/{path}.json"))
        return False

    def write_path(  # type: ignore[override]
        self, path: str, content: bytes, _sync: bool = True
    ) -> None:
        """Point to finished work; a failure is told, since Prefect would only log it."""
        done = Done.model_validate(ResultRecord.deserialize(content).result)  # of this process
        try:
            with retry_for():
                record = seal(done.model_dump_json().encode())
                open_store(self.store).write(f"cache/{path}.json", record)
        except StoreError as error:
            emit(Event("cache", f"the result is not cached: {error}"))
            raise


def is_transient(task: Task[..., Any], run: Any, state: Any) -> bool:
    """True for what can pass: network and storage out of reach. Bad input and a time limit stay."""
    error = state.result(raise_on_failure=False)
    passing = isinstance(error, Unavailable | ConnectionError | TimeoutError)
    return passing and not isinstance(error, TaskRunTimeoutError)


def step(function: Callable[..., Any]) -> Task[..., Any]:
    """Make a function a Prefect task with this project's retry policy and result format."""
    make = task(
        retries=4,
        retry_delay_seconds=exponential_backoff(1),
        retry_jitter_factor=0.5,
        retry_condition_fn=is_transient,
        persist_result=True,
        cache_result_in_memory=False,
        result_serializer=SERIALIZER,
        log_prints=False,
    )
    return make(function)


def cached(
    work_step: Task[..., Any],
    work: Work,
    store: str,
    name: str,
    *,
    refresh: bool,
    minutes: int,
    kept: Callable[[], None] = lambda: None,
) -> Callable[..., tuple[Ref, bool]]:
    """The step as one named task run under the cache: call it to get (ref, was it a hit).

    `kept` is called once the cache holds the result, however long ago it was computed.
    """
    bound = work_step.with_options(
        name=name,
        task_run_name=name,
        cache_key_fn=lambda context, parameters: work.key,
        refresh_cache=refresh,
        timeout_seconds=60 * minutes,
    )

    # Set here, since the option insists on a block that a server knows; this one needs no server.
    bound.result_storage = shelf = Shelf(store=store)

    def call(*args: Any) -> tuple[Ref, bool]:
        waits = Event(name, "another process is at it; waiting for its result")
        with open_store(store).claim(work.key, lambda: emit(waits)):
            state: State[Any] = bound(*args, return_state=True)  # type: ignore[assignment]
            hit = state.name == "Cached"
            # Prefect completes a run whose record could not be written.
            if hit or (state.is_completed() and shelf.holds(work.key)):
                kept()
        done = Done.model_validate(state.result())
        if hit:
            emit(Event(name, "cached"))
        return done.ref, hit

    return call
