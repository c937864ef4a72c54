"""Prometheus metrics of a worker: its flow runs, and what these report of themselves (`measured`)."""

from __future__ import annotations

import os
from contextlib import suppress
from threading import Thread
from time import monotonic

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server

from flows.workers.measured import Measured
from tasks.vision.errors import BadInput

FORGOTTEN_AFTER = 60.0  # seconds without a line, after which a run's rate counts no more


class Metrics:
    """The numbers of one worker; `pipe` is the file descriptor to which its flow runs write.

    Runs of the flow `train-stage` are the stages.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.under_way = Gauge(
            "relevo_runs_under_way",
            "Flow runs that this worker executes now",
            ["flow"],
            registry=self.registry,
        )
        self.waiting = Gauge(
            "relevo_runs_waiting",
            "Flow runs of the work pool that are due, and that no worker has taken",
            registry=self.registry,
        )
        self.ended = Counter(
            "relevo_runs_ended",
            "Flow runs that this worker has executed, by how they ended",
            ["flow", "state"],
            registry=self.registry,
        )
        rate = Gauge(
            "relevo_images_per_second",
            "Images that this worker's trainings process a second, all together",
            registry=self.registry,
        )
        rate.set_function(self._rate)
        self._hits = Counter(
            "relevo_cache_hits", "Results that were in the cache", registry=self.registry
        )
        self._fetched = Counter(
            "relevo_bytes_fetched", "Bytes of blobs and images from buckets", registry=self.registry
        )
        self._rates: dict[str, tuple[float, float]] = {}  # by run, with the time of the line
        reading, self.pipe = os.pipe()
        Thread(target=self._read, args=(reading,), daemon=True).start()

    def serve(self, host: str, port: int) -> None:
        """Serve them at http://HOST:PORT/metrics, in threads that end with the process.

        Raises:
            BadInput: the port can't be used.
        """
        try:
            start_http_server(port, host, self.registry)
        except OSError as error:
            raise BadInput(
                f"--metrics-port {host}:{port} can't be used ({error.strerror or error}); "
                "give another port, or an address of this machine"
            ) from None

    def add(self, measured: Measured) -> None:
        """Count what a run reports."""
        self._hits.inc(measured.cache_hits)
        self._fetched.inc(measured.bytes_fetched)
        if measured.images_per_second is None:
            self._rates.pop(measured.run, None)
        else:
            self._rates[measured.run] = measured.images_per_second, monotonic()

    def _rate(self) -> float:
        since = monotonic() - FORGOTTEN_AFTER
        return sum(rate for rate, at in list(self._rates.values()) if at >= since)

    def _read(self, reading: int) -> None:
        with os.fdopen(reading, "rb") as lines:
            for line in lines:
                with suppress(ValueError, TypeError):
                    self.add(Measured.parse(line))
