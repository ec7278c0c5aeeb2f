"""What Prometheus is told about the daemon (prometheus.io/docs/instrumenting/exposition_formats)."""

from __future__ import annotations

import platform
import re
import threading
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, Info, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from spm_live import __version__
from spm_live.domain import DaemonState, DaemonStatus, Fault, Processed

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""Upper edges of the histogram of a stage's duration, in s: from a small frame's locate to a large one's detect."""

MAX_LABELS = 64
"""Values of one label that are told apart; further ones are summed up as ``other``, whatever a model or reader says."""

OTHER = "other"


class Metrics:
    """Counts what goes by; one per daemon, with a registry of its own.

    ``registry`` holds what only this object knows: molecules by class, faults by stage, durations, and the build. What
    the status knows is added by :meth:`text`.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> metrics = Metrics()
    >>> metrics.observe_fault(Fault("a.sxm", "read", "cut", datetime.now(UTC)))
    >>> b'spm_live_stage_faults_total{stage="read"} 1.0' in generate_latest(metrics.registry)
    True
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._lock = threading.Lock()
        self._told: dict[str, set[str]] = {"label": set(), "stage": set(), "fault": set()}
        self._molecules = Counter(
            "spm_live_class_molecules", "Molecules found, by class.", ["label"], registry=self.registry
        )
        self._faults = Counter(
            "spm_live_stage_faults", "Frames and messages that could not be used.", ["stage"], registry=self.registry
        )
        self._partial = Counter("spm_live_partial_frames", "Frames that were not whole.", registry=self.registry)
        self._seconds = Histogram(
            "spm_live_stage_seconds", "Duration of a stage.", ["stage"], buckets=BUCKETS_S, registry=self.registry
        )
        Info("spm_live_build", "The program.", registry=self.registry).info(
            {"version": __version__, "python": platform.python_version()}
        )

    def observe(self, processed: Processed) -> None:
        """Count a frame that was stored for the first time."""
        for label, count in processed.map.counts.items():
            self._molecules.labels(self._bounded("label", label)).inc(count.total)
        if processed.map.frame.partial:
            self._partial.inc()
        for stage, spent_ms in processed.timings_ms.items():
            self._seconds.labels(self._bounded("stage", stage)).observe(spent_ms / 1000)

    def observe_fault(self, fault: Fault) -> None:
        """Count a fault."""
        self._faults.labels(self._bounded("fault", fault.stage)).inc()

    def text(self, status: DaemonStatus) -> bytes:
        """Write everything in the text format of Prometheus."""
        now = CollectorRegistry()
        now.register(StatusCollector(status))
        return generate_latest(now) + generate_latest(self.registry)

    def _bounded(self, kind: str, value: str) -> str:
        with self._lock:
            told = self._told[kind]
            if value not in told:
                if len(told) >= MAX_LABELS:
                    return OTHER
                told.add(value)
        return value


class StatusCollector(Collector):
    """One status as metrics."""

    def __init__(self, status: DaemonStatus) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        status = self._status
        states = GaugeMetricFamily("spm_live_state", "1 for the state that the daemon is in.", labels=["state"])
        for state in DaemonState:
            states.add_metric([str(state)], float(state is status.state))
        yield states
        yield GaugeMetricFamily("spm_live_start_time_seconds", "Start, Unix time.", status.since.timestamp())
        yield GaugeMetricFamily("spm_live_queued", "Arrivals that wait.", status.queued)
        yield GaugeMetricFamily("spm_live_queue_size", "Arrivals that may wait.", status.queue_size)
        if status.lag_s is not None:
            yield GaugeMetricFamily("spm_live_lag_seconds", "Last frame: found ready to stored.", status.lag_s)
        for name, count in status.counters.items():
            plain = re.sub(r"[^a-zA-Z0-9_]", "_", name)
            yield CounterMetricFamily(f"spm_live_{plain}", f"Since the start: {name.replace('_', ' ')}.", count)
        if status.model is not None:
            model = {"name": status.model.name, "version": status.model.version, "sha256": status.model.sha256}
            yield InfoMetricFamily("spm_live_model", "The model in use.", model)
        yield from self._sources()

    def _sources(self) -> Iterator[Metric]:
        ok = GaugeMetricFamily("spm_live_source_ok", "1 if frames can arrive from it now.", labels=["source"])
        events = CounterMetricFamily("spm_live_source_events", "What it counted.", labels=["source", "event"])
        for source in self._status.sources:
            ok.add_metric([source.name], float(source.ok))
            for name, count in source.counters.items():
                events.add_metric([source.name, name], count)
        yield ok
        yield events
