"""Prefect's process worker, with flow runs that are forked from a process with all imports (`fork_server`)."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from socket import AF_UNIX, SOCK_STREAM, gethostname, socket
from types import FrameType
from typing import TYPE_CHECKING, Any

from prefect.logging.configuration import setup_logging
from prefect.settings import get_current_settings
from prefect.utilities.processutils import command_to_string, setup_signal_handlers_worker
from prefect.workers.process import (
    ProcessJobConfiguration,
    ProcessWorker,
    ProcessWorkerResult,
)

from flows.dispatch.polling import pause
from flows.dispatch.pools import CPU
from flows.workers import fork_client
from flows.workers.metrics import Metrics

if TYPE_CHECKING:
    from prefect.client.schemas import FlowRun

LAUNCHER = Path(__file__).parents[1] / "launcher.py"
PREFECT = ("prefect.flow_engine", "prefect.task_engine", "prefect.runner", "prefect.deployments")
FLOWS = ("flows.experiment", "flows.prepare_data", "flows.collect_garbage")
# What flows import where they need it, which takes seconds.
LATE = (
    *("tasks.store.local", "tasks.store.s3.store", "tasks.vision.evaluation.metrics"),
    *("tasks.vision.figures.curves", "tasks.vision.figures.predictions"),
)
LATE_IN_TRAINING = (
    *("tasks.vision.training.stage", "tasks.vision.export.keras_file", "scipy.optimize"),
    *("tasks.vision.network.predictor", "sklearn.decomposition"),
)
DISPATCHES = (*PREFECT, *FLOWS, *LATE)
TRAINS = (*DISPATCHES, "flows.train_stage", "flows.sweep_run", "flows.predict", *LATE_IN_TRAINING)
OF_ONE_RUN = "PREFECT__"  # how variables begin that differ from run to run
WHILE_BUSY = 30.0  # seconds; after 60 without a query, Prefect calls a queue not ready

FLOW = "prefect.io/flow-name"  # the label of a job that names its flow
COUNT_EVERY = 10.0  # seconds
FORKED = "forked"  # in place of a command, until the worker knows the run's environment


class ForkingConfiguration(ProcessJobConfiguration):
    """How a run starts: forked, unless its pool or deployment has a command of its own."""

    def prepare_for_flow_run(self, *args: Any, **named: Any) -> None:
        """As in Prefect's own worker, but with another default command."""
        self.command = self.command or FORKED
        super().prepare_for_flow_run(*args, **named)


class ForkingWorker(ProcessWorker):
    """A worker of a pool of type process."""

    type = "process"
    job_configuration = ForkingConfiguration

    def __init__(
        self, server: ForkServerProcess, metrics: Metrics | None = None, **named: Any
    ) -> None:
        super().__init__(**named)
        self._server, self._metrics = server, metrics
        self._last_change = self._last_query = time.monotonic()
        self._counted_at = 0.0

    async def get_and_submit_flow_runs(self) -> list[FlowRun]:
        """Take new runs; ask often after one has ended, since others may follow, and seldom while busy."""
        await self._count_waiting()
        busy = self.limiter.available_tokens < 1
        wait = WHILE_BUSY if busy else pause(self._last_change, 0)
        if time.monotonic() - self._last_query < wait:
            return []
        self._last_query = time.monotonic()
        found = await super().get_and_submit_flow_runs()
        if found:
            self._last_change = time.monotonic()
        return found

    async def run(
        self, flow_run: FlowRun, configuration: ProcessJobConfiguration, *args: Any, **named: Any
    ) -> ProcessWorkerResult:
        """Run a flow."""
        if configuration.command == FORKED:
            configuration.command = command_to_string(self._server.command(configuration.env))
        flow = configuration.labels.get(FLOW) or "unknown"
        metrics = self._metrics
        try:
            with metrics.under_way.labels(flow).track_inprogress() if metrics else nullcontext():
                result = await super().run(flow_run, configuration, *args, **named)
        finally:
            self._last_change = time.monotonic()
        if metrics:
            metrics.ended.labels(flow, await self._end_of(flow_run, result)).inc()
        return result

    async def _end_of(self, flow_run: FlowRun, result: ProcessWorkerResult) -> str:
        """Return the type of a run's state after its process has ended, such as failed."""
        state = None
        with suppress(Exception):  # the server is away, which other code reports
            state = (await self.client.read_flow_run(flow_run.id)).state
        if result.status_code and not (state and (state.is_final() or state.is_cancelling())):
            return "crashed"  # as this worker will report it
        return state.type.value.lower() if state else "unknown"

    async def _count_waiting(self) -> None:
        """Now and then, count the runs that are due."""
        if self._metrics and time.monotonic() - self._counted_at >= COUNT_EVERY:
            self._counted_at = time.monotonic()
            due = {
                "flow_runs": {
                    "state": {"type": {"any_": ["SCHEDULED"]}},
                    "expected_start_time": {"before_": datetime.now(UTC).isoformat()},
                },
                "work_pools": {"name": {"any_": [self._work_pool_name]}},
            }
            answer = await self.client.request("POST", "/flow_runs/count", json=due)
            self._metrics.waiting.set(answer.json())


class ForkServerProcess:
    """The worker's fork server; it starts with the first run, with that run's environment.

    Args:
        folder: for its socket. modules: what it imports. pipe: to which runs report, if there is one.
    """

    def __init__(self, folder: Path, modules: tuple[str, ...], pipe: int | None = None) -> None:
        self._folder, self._modules, self._pipe = folder, modules, pipe
        self._environment: dict[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None

    def command(self, environment: dict[str, str | None]) -> list[str]:
        """Return the command that runs a flow with this environment."""
        if sys.platform != "linux":
            return fork_client.PLAIN
        settings = get_current_settings().to_environment_variables(exclude_unset=True)
        given = {**os.environ, **environment, **settings}  # as Prefect combines them
        shared = {
            name: value
            for name, value in given.items()
            if value is not None and not name.startswith(OF_ONE_RUN)
        }
        if self._process is None or self._process.poll() is not None:
            self._start(shared)
        if shared != self._environment:
            return fork_client.PLAIN
        return [sys.executable, "-I", fork_client.__file__, str(self._socket)]

    def _start(self, environment: dict[str, str]) -> None:
        self._environment = environment
        self._socket.unlink(missing_ok=True)
        # Here and not in the server, so that runs wait for its imports.
        with socket(AF_UNIX, SOCK_STREAM) as listener:
            listener.bind(str(self._socket))
            listener.listen(128)
            inherited = [listener.fileno(), *([] if self._pipe is None else [self._pipe])]
            numbers = [*map(str, inherited), "-"][:2]
            server = ("flows.workers.fork_server", *numbers, *self._modules)
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(LAUNCHER), *server],
                env=environment,
                stdin=subprocess.PIPE,  # closes when this process ends
                pass_fds=inherited,
                start_new_session=True,  # Ctrl-C reaches runs by their clients
            )

    @property
    def _socket(self) -> Path:
        return self._folder / "socket"


def run_worker(
    pool: str, limit: int, name: str | None, metrics_at: tuple[str, int] | None = None
) -> None:
    """Run a worker of a work pool until it is stopped; its name defaults to that of the machine.

    Args:
        metrics_at: address and port of its metrics.

    Raises:
        BadInput: that port can't be used.
    """
    setup_logging()
    metrics = None
    if metrics_at:
        metrics = Metrics()
        metrics.serve(*metrics_at)
    setup_signal_handlers_worker(os.getpid(), "the worker", print)
    forward, terminated = signal.getsignal(signal.SIGTERM), list[int]()
    assert callable(forward)

    def note(number: int, frame: FrameType | None) -> None:
        terminated.append(number)
        forward(number, frame)  # as SIGINT, and then waits for SIGTERM itself

    signal.signal(signal.SIGTERM, note)
    modules = DISPATCHES if pool == CPU else TRAINS
    with tempfile.TemporaryDirectory(prefix="relevo-") as folder, suppress(asyncio.CancelledError):
        server = ForkServerProcess(Path(folder), modules, metrics.pipe if metrics else None)
        own = name or f"{gethostname()}, process {os.getpid()}"
        worker = ForkingWorker(server, metrics, work_pool_name=pool, limit=limit, name=own)
        try:
            asyncio.run(worker.start())
        except KeyboardInterrupt:
            if terminated:
                raise SystemExit(128 + signal.SIGTERM) from None
            raise
