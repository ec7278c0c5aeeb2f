"""What Prometheus is told beside the daemon's own counters: the viewers, the store, the newest frame, the process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from spm_live.publish.live_message import LiveView
from spm_live.scanning import LiveState
from spm_live.web.events import Events
from spm_live.web.ports import FrameStore

STORE_TOTALS = ("frames", "partial", "superseded", "molecules", "faults")


class ViewerCollector(Collector):
    """Looks at the store, the scans in progress and the open pages at the moment it is asked."""

    def __init__(self, store: FrameStore, events: Events, live: LiveView | None = None) -> None:
        self._store = store
        self._events = events
        self._live = live

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics; ``docs/reference/http.md`` lists them."""
        yield GaugeMetricFamily("spm_live_viewers", "Open viewer pages.", self._events.open_sockets)
        yield CounterMetricFamily(
            "spm_live_viewer_overtaken", "Messages that slow viewer pages did not get.", self._events.overtaken
        )
        totals = self._store.totals()
        for name in STORE_TOTALS:
            yield GaugeMetricFamily(f"spm_live_store_{name}", f"In the whole history: {name}.", totals[name])
        newest = self._store.frames(1)
        yield from _newest(newest[0]["counts"] if newest else {})
        yield from _in_progress(self._live)


def viewer_registry(store: FrameStore, events: Events, live: LiveView | None = None) -> CollectorRegistry:
    """A registry with :class:`ViewerCollector` and, on Linux, memory and processor time of the process."""
    registry = CollectorRegistry()
    # Describing a collector calls it once; auto_describe is off, so nothing is read before the first scrape.
    registry.register(ViewerCollector(store, events, live))
    ProcessCollector(registry=registry)
    return registry


def _newest(counts: dict[str, dict[str, Any]]) -> Iterator[Metric]:
    families = {
        "total": GaugeMetricFamily("spm_live_newest_molecules", "Molecules in the newest frame.", labels=["label"]),
        "density_per_nm2": GaugeMetricFamily("spm_live_newest_density_per_nm2", "Their density.", labels=["label"]),
        "coverage": GaugeMetricFamily("spm_live_newest_coverage", "Part of the scan they cover.", labels=["label"]),
    }
    for label, count in counts.items():
        for key, family in families.items():
            if count[key] is not None:
                family.add_metric([label], count[key])
    yield from families.values()


def _in_progress(live: LiveView | None) -> Iterator[Metric]:
    scans = [scan for scan in live.scans() if scan.state is LiveState.SCANNING] if live is not None else []
    yield GaugeMetricFamily("spm_live_scans_in_progress", "Scans in progress.", len(scans))
    progress = GaugeMetricFamily("spm_live_scan_progress", "Part of its lines that is scanned.", labels=["source"])
    overtaken = GaugeMetricFamily("spm_live_scan_overtaken", "Updates overtaken by newer ones.", labels=["source"])
    for source, scan in {scan.source: scan for scan in scans}.items():  # the newest of a source; no sample comes twice
        progress.add_metric([source], scan.info.complete_rows / scan.info.geometry.rows)
        overtaken.add_metric([source], scan.overtaken)
    yield progress
    yield overtaken
