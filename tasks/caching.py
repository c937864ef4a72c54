"""The one cache: what its key is made of, what a hit means, and which faults are worth a retry.

Prefect's result cache holds refs and the store holds bytes. A key is a digest of everything that
can change a result and of nothing else: not of a path, a store's address or a host.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

from prefect import State, Task, task
from prefect.filesystems import WritableFileSystem
from prefect.serializers import JSONSerializer
from prefect.tasks import exponential_backoff
from pydantic import BaseModel, ConfigDict, ValidationError

from tasks.progress import Event, tell
from tasks.store import Missing, Ref, StoreError, open_store
from tasks.store.base import Passing

PROJECT = ("flows", "tasks")
NUMERIC = ("tensorflow", "keras", "numpy")


@dataclass(frozen=True)
class Work:
    """One piece of cached work: what it is, and everything that can change its result."""

    task: str
    ingredients: dict[str, Any]

    @cached_property
    def key(self) -> str:
        """The cache key: the task's name and a digest of the ingredients."""
        canonical = json.dumps(self.ingredients, sort_keys=True, separators=(",", ":"))
        return f"{self.task}-{hashlib.sha256(canonical.encode()).hexdigest()}"


class Done(BaseModel):
    """What a task returns and the cache keeps: the ref, and why it has the key it has."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ref: Ref
    ingredients: dict[str, Any]


def versions(*packages: str) -> dict[str, str]:
    """Installed versions, read without importing the packages."""
    return {name: metadata.version(name) for name in packages}


@cache
def code_digest(*modules: str) -> str:
    """SHA-256 over the source of these modules and of every project module that they import."""
    sha = hashlib.sha256()
    for name, path in sorted(_closure(modules).items()):
        sha.update(f"{name}\0".encode() + path.read_bytes().replace(b"\r\n", b"\n") + b"\0")
    return sha.hexdigest()


def _closure(modules: tuple[str, ...]) -> dict[str, Path]:
    """Module name -> file, for `modules` and all project modules they import, directly or not."""
    found: dict[str, Path] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in found or name.split(".")[0] not in PROJECT:
            continue
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            continue  # a function's or class' name in `from module import name`
        found[name] = Path(spec.origin)
        for node in ast.walk(ast.parse(found[name].read_text("utf-8"))):
            if isinstance(node, ast.Import):
                waiting += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                waiting += [node.module, *_submodules(node)]
    return found


def _submodules(node: ast.ImportFrom) -> list[str]:
    """`from package import module`: the modules among the imported names."""
    if (node.module or "").split(".")[0] not in PROJECT:
        return []  # looking a library's module up would import its package
    base = importlib.util.find_spec(node.module or "")
    if base is None or base.submodule_search_locations is None:
        return []
    return [f"{node.module}.{alias.name}" for alias in node.names]


class Shelf(WritableFileSystem):
    """Prefect's result records, kept in the project's store under `cache/`.

    A record is a hit only if it is a plain JSON ref, of the key that was asked for, whose bytes
    are there and whole; any other is set aside and counts as a miss.
    """

    _block_type_slug = "relevo-shelf"

    store: str

    def _resolve_path(self, path: str) -> None:
        """Prefect asks for a local path to name its records by; here a record's key is its name."""

    def read_path(self, path: str, _sync: bool = True) -> bytes:  # type: ignore[override]
        """The record under this key. Raises ValueError (a miss to Prefect) if it is no hit."""
        store, key = open_store(self.store), f"cache/{path}.json"
        content = store.read(key)
        try:
            done = read_record(content)
            if Work(path.rsplit("-", 1)[0], done.ingredients).key != path:
                raise ValueError("it belongs to another key")
        except ValueError as error:
            aside = store.set_aside(key)
            tell(Event("cache", f"{key} is damaged ({error}); moved to {aside}, computing again"))
            raise
        try:
            store.fetch(done.ref)
        except Passing:
            raise  # out of reach is not damaged
        except Missing:
            tell(Event("cache", f"{done.ref.uri} is gone from the store; computing again"))
            raise
        except StoreError as error:
            aside = store.set_aside(done.ref.uri)
            tell(Event("cache", f"{error}; moved to {aside}, computing again"))
            raise
        return content

    def write_path(  # type: ignore[override]
        self, path: str, content: bytes, _sync: bool = True
    ) -> None:
        """Point to finished work; a failure is told, since Prefect would only log it."""
        try:
            open_store(self.store).write(f"cache/{path}.json", content)
        except StoreError as error:
            tell(Event("cache", f"the result is not cached: {error}"))
            raise


def read_record(content: bytes) -> Done:
    """The ref in a result record; ValueError for anything that isn't plain JSON of the right form."""
    try:
        record = json.loads(content)
        serializer = record["metadata"]["serializer"]
        # Prefect would load whatever serializer a record names, pickle too.
        if serializer["type"] != "json" or serializer.get("object_decoder"):
            raise ValueError("not plain JSON")
        return Done.model_validate_json(record["result"])
    except (KeyError, TypeError, ValidationError) as error:
        raise ValueError(f"no result record ({type(error).__name__})") from None


def worth_a_retry(task: Task[..., Any], run: Any, state: Any) -> bool:
    """True for what can pass: network and storage out of reach. Bad input stays bad."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, Passing | ConnectionError | TimeoutError)


def step(function: Callable[..., Any]) -> Task[..., Any]:
    """Make a function a Prefect task with this project's retry policy and result format."""
    make = task(
        retries=4,
        retry_delay_seconds=exponential_backoff(1),
        retry_jitter_factor=0.5,
        retry_condition_fn=worth_a_retry,
        persist_result=True,
        cache_result_in_memory=False,
        result_serializer=JSONSerializer(object_encoder=None, object_decoder=None),
        log_prints=False,
    )
    return make(function)


def cached(
    work_step: Task[..., Any], work: Work, store: str, name: str, *, refresh: bool, minutes: int
) -> Callable[..., tuple[Ref, bool]]:
    """The step as one named task run under the cache: call it to get (ref, was it a hit)."""
    bound = work_step.with_options(
        name=name,
        task_run_name=name,
        cache_key_fn=lambda context, parameters: work.key,
        refresh_cache=refresh,
        timeout_seconds=60 * minutes,
    )

    # Set here, since the option insists on a block that a server knows; this one needs no server.
    bound.result_storage = Shelf(store=store)

    def call(*args: Any) -> tuple[Ref, bool]:
        state: State[Any] = bound(*args, return_state=True)  # type: ignore[assignment]
        done = Done.model_validate(state.result())
        hit = state.name == "Cached"
        if hit:
            tell(Event(name, "cached"))
        return done.ref, hit

    return call
