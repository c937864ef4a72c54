"""Tasks under the cache: Prefect runs, retries and shows them; `Cache` says what is a hit.

Prefect never sees bytes of the store. It unpickles what a record tells it to, so it gets a record
that is made here, from a ref that was checked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ParamSpec, Protocol, TypeVar

from prefect import State, Task, task
from prefect.cache_policies import CachePolicy
from prefect.filesystems import WritableFileSystem
from prefect.results import ResultRecord, ResultRecordMetadata  # type: ignore[attr-defined]
from prefect.serializers import JSONSerializer
from prefect.task_engine import TaskRunTimeoutError
from prefect.tasks import exponential_backoff
from pydantic import BaseModel, ConfigDict, PrivateAttr

from tasks.cache.cache import NEVER_DONE, Cache, Hit
from tasks.cache.records import Work
from tasks.progress import Event, emit
from tasks.store.base import Ref, Store, StoreError, Unavailable


class Result(Protocol):
    """What a task returns: a ref to its result in the store, and what is known of it besides."""

    @property
    def ref(self) -> Ref:
        """Where the result is."""


P = ParamSpec("P")
R = TypeVar("R", bound=Result)


class Published(BaseModel):
    """A result of which nothing is known but where it is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ref: Ref

    @classmethod
    def of(cls, ref: Ref) -> Published:
        """The result that is at `ref`."""
        return cls(ref=ref)


@dataclass(frozen=True)
class CacheOptions:
    """How a task runs under the cache.

    Attributes:
        refresh: compute again, whatever the cache has. minutes: after which the task fails.
    """

    refresh: bool
    minutes: int


@dataclass
class WorkKey(CachePolicy):
    """The cache key of a piece of work, whatever parameters Prefect would make one from."""

    key: str = ""

    def compute_key(self, *_: Any, **__: Any) -> str:
        """The key."""
        return self.key


class CheckedRecord(WritableFileSystem):
    """What Prefect reads of one task run's result: a checked hit, or nothing. It writes nothing."""

    _block_type_slug = "relevo-checked-record"
    _ref: Ref | None = PrivateAttr(default=None)

    def _resolve_path(self, path: str) -> None:
        """Prefect asks for a local path to name its records by; here a record's key is its name."""

    def read_path(self, path: str, _sync: bool = True) -> bytes:  # type: ignore[override]
        """The record of a hit; ValueError, which is a miss to Prefect, where there is none."""
        if self._ref is None:
            raise ValueError("no hit")
        metadata = ResultRecordMetadata(storage_key=path, serializer=JSONSerializer())
        return ResultRecord(metadata=metadata, result=self._ref.uri).serialize()

    def write_path(  # type: ignore[override]
        self, path: str, content: bytes, _sync: bool = True
    ) -> None:
        """Do nothing: the cache writes a record of its own."""


def is_transient(task: Task[..., Any], run: Any, state: Any) -> bool:
    """Whether a retry may help: network or storage out of reach, but neither bad input nor a time limit."""
    error = state.result(raise_on_failure=False)
    transient = isinstance(error, Unavailable | ConnectionError | TimeoutError)
    return transient and not isinstance(error, TaskRunTimeoutError)


def cached_task(function: Callable[P, R]) -> Task[P, R]:
    """Make a function a Prefect task with this project's retry policy and result format."""
    return task(
        retries=4,
        retry_delay_seconds=exponential_backoff(1),
        retry_jitter_factor=0.5,
        retry_condition_fn=is_transient,
        persist_result=True,
        cache_result_in_memory=False,
        result_serializer=JSONSerializer(),
        log_prints=False,
    )(function)


def cached(
    cached_task: Task[P, R],
    work: Work,
    store: Store,
    name: str,
    load: Callable[[Ref], R],
    options: CacheOptions,
    *,
    on_cached: Callable[[], None] = lambda: None,
) -> Callable[P, tuple[R, bool]]:
    """The task as one named task run under the cache: call it to get (result, was it a hit).

    Args:
        load: the result that a hit's ref stands for.
        on_cached: is called once the cache holds the result, however long ago it was computed.
    """
    cache, prefects = Cache(store), CheckedRecord()
    bound = cached_task.with_options(
        name=name,
        task_run_name=name,
        cache_policy=WorkKey(key=work.key),
        refresh_cache=options.refresh,
        timeout_seconds=60 * options.minutes,
    )
    # Set here, since the option demands a block that a server knows; this one needs no server.
    bound.result_storage = prefects

    def call(*args: P.args, **kwargs: P.kwargs) -> tuple[R, bool]:
        waiting = Event(name, "another process is computing this; waiting for its result")
        with cache.store.claim(work.key, lambda: emit(waiting)):
            prefects._ref = None if options.refresh else _usable(cache, work)
            state: State[R] = bound(*args, **kwargs, return_state=True)
            if state.name == "Cached" and prefects._ref:
                on_cached()
                emit(Event(name, "cached"))
                return load(prefects._ref), True
            result: R = state.result()
            if _record(cache, work, result.ref):
                on_cached()
            return result, False

    return call


def _usable(cache: Cache, work: Work) -> Ref | None:
    """The ref of a hit; what is damaged is set aside and reported, since it is computed again."""
    found = cache.lookup(work)
    if isinstance(found, Hit):
        cache.touch(work)
        return found.ref
    if found.damaged:
        aside = cache.store.set_aside(found.damaged)
        line = f"{found.damaged}: {found.reason}; moved to {aside}, computing again"
        emit(Event("cache", line))
    elif found.reason != NEVER_DONE:
        emit(Event("cache", f"{work.key}: {found.reason}; computing again"))
    return None


def _record(cache: Cache, work: Work, ref: Ref) -> bool:
    """Record finished work; False if the store doesn't take it, and the run goes on."""
    try:
        cache.record(work, ref)
    except StoreError as error:
        emit(Event("cache", f"the result is not cached: {error}"))
        return False
    return True
