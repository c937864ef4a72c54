"""Cached Prefect tasks: Prefect runs, retries and displays them; `Cache` decides what is a hit.

Prefect never reads bytes of the store, because a result record can make it unpickle its content. It
gets a record that is built here, from a verified ref.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, ParamSpec, Protocol, TypeVar

from prefect import State, Task, task
from prefect.cache_policies import CachePolicy
from prefect.filesystems import WritableFileSystem
from prefect.results import ResultRecord, ResultRecordMetadata  # type: ignore[attr-defined]
from prefect.serializers import JSONSerializer
from prefect.task_engine import TaskRunTimeoutError
from prefect.tasks import exponential_backoff
from pydantic import PrivateAttr

from tasks.cache.cache import NOT_CACHED, Cache, Miss, record_key
from tasks.cache.records import Work
from tasks.progress import CACHED, Event, emit
from tasks.store.base import Ref, Store, StoreError, Unavailable
from tasks.vision.recipe.schema import Strict


class Result(Protocol):
    """What a task returns: at least a ref to its result in the store."""

    @property
    def ref(self) -> Ref:
        """The result in the store."""


P = ParamSpec("P")
R = TypeVar("R", bound=Result)


class Published(Strict):
    """A result that consists of its ref only; of a hit, no more than its kind is checked."""

    ref: Ref

    @classmethod
    def of(cls, ref: Ref, store: Store | None = None) -> Published:
        """Return the result at `ref`, without reading it from its store."""
        return cls(ref=ref)


@dataclass(frozen=True)
class CacheOptions:
    """Options of a cached task.

    Attributes:
        refresh: compute again even if cached. minutes: timeout of the task.
        locked: look for the result only while holding the lease, which is needed to compute it.
    """

    refresh: bool
    minutes: int
    locked: bool = False


@dataclass
class WorkKey(CachePolicy):
    """A cache policy with a fixed key, in place of one computed from the task's parameters."""

    key: str = ""

    def compute_key(self, *_: Any, **__: Any) -> str:
        """Return the key."""
        return self.key


class CheckedRecord(WritableFileSystem):
    """Result storage of one task run, as Prefect sees it: a verified hit or nothing; writes are no-ops."""

    _block_type_slug = "relevo-checked-record"
    _ref: Ref | None = PrivateAttr(default=None)

    def _resolve_path(self, path: str) -> None:
        """Return None: Prefect would use a local path; here a record is named by its key."""

    def read_path(self, path: str, _sync: bool = True) -> bytes:  # type: ignore[override]
        """Return the record of a hit, else raise ValueError, which is a miss to Prefect."""
        if self._ref is None:
            raise ValueError("no hit")
        metadata = ResultRecordMetadata(storage_key=path, serializer=JSONSerializer())
        return ResultRecord(metadata=metadata, result=self._ref.uri).serialize()

    def write_path(  # type: ignore[override]
        self, path: str, content: bytes, _sync: bool = True
    ) -> None:
        """Do nothing: the cache writes its own record."""


def is_transient(task: Task[..., Any], run: Any, state: Any) -> bool:
    """True if a retry may help: network or storage errors, but not bad input or a timeout."""
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
    load: Callable[[Ref, Store], R],
    options: CacheOptions,
    *,
    on_cached: Callable[[], None] = lambda: None,
) -> Callable[P, tuple[R, bool]]:
    """Return a function that runs the task under the cache and returns (result, whether it was a hit).

    Args:
        load: returns the result for a hit's ref and its store.
        on_cached: is called under the lease, once the result is in the cache, new or old.
    """
    cache, prefects = Cache(store), CheckedRecord()
    bound = cached_task.with_options(
        name=name,
        task_run_name=name,
        cache_policy=WorkKey(key=work.key),
        refresh_cache=options.refresh,
        timeout_seconds=60 * options.minutes,
    )
    # Set directly: the option accepts only a block that is saved on a server.
    bound.result_storage = prefects

    def call(*args: P.args, **kwargs: P.kwargs) -> tuple[R, bool]:
        waiting = Event(name, "another process is computing this; waiting for its result")
        early = None if options.refresh or options.locked else _look(cache, work, load)
        found = None if isinstance(early, Miss) else early
        with nullcontext() if found else cache.store.claim(work.key, lambda: emit(waiting)):
            # Looked up again under the lease: another process may have computed it meanwhile.
            cached = found or (None if options.refresh else _usable(cache, work, load))
            prefects._ref = cached.ref if cached else None
            state: State[R] = bound(*args, **kwargs, return_state=True)
            if state.name == "Cached" and cached:
                if not found:
                    on_cached()
                emit(Event(name, CACHED))
                return cached, True
            result: R = state.result()
            if _record(cache, work, result.ref):
                on_cached()
            return result, False

    return call


def _look(cache: Cache, work: Work, load: Callable[[Ref, Store], R]) -> R | Miss:
    """Return the result of a hit, marked as used now."""
    found = cache.lookup(work)
    if isinstance(found, Miss):
        return found
    try:
        result = load(found.ref, cache.store)
        if found.aging:
            cache.touch(work)
        return result
    except Unavailable:
        raise
    except (StoreError, ValueError) as error:
        # The record is forged: its result is whole, but of another kind.
        reason = " ".join(str(error).split())[:200]
        return Miss(f"its result can't be used ({reason})", record_key(work))


def _usable(cache: Cache, work: Work, load: Callable[[Ref, Store], R]) -> R | None:
    """Return the result of a hit; move a damaged record or result aside and report it."""
    found = _look(cache, work, load)
    if not isinstance(found, Miss):
        return found
    if found.damaged:
        aside = cache.store.set_aside(found.damaged)
        line = f"{found.damaged}: {found.reason}; moved to {aside}, computing again"
        emit(Event("cache", line))
    elif found.reason != NOT_CACHED:
        emit(Event("cache", f"{work.key}: {found.reason}; computing again"))
    return None


def _record(cache: Cache, work: Work, ref: Ref) -> bool:
    """Record finished work; return False if the store fails, which doesn't fail the run."""
    try:
        cache.record(work, ref)
    except StoreError as error:
        emit(Event("cache", f"the result is not cached: {error}"))
        return False
    return True
