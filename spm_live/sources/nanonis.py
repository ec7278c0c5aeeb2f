"""A Nanonis controller as a source of scans in progress: it is asked, never driven."""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime
from typing import Protocol

from spm_live.domain import Fault, SourceStatus
from spm_live.settings_live import NanonisSettings
from spm_live.sources import Known, Put, Report, StoppedError
from spm_live.sources.growing import Tell
from spm_live.sources.sequences import FaultRate
from spm_live_drivers.growing import GrowingError, GrowingEvent, ScanEnd, ScanLines, ScanOutcome, ScanStart
from spm_live_drivers.nanonis.watch import ScanWatch

logger = logging.getLogger(__name__)


class Watch(Protocol):
    """What is asked: :class:`spm_live_drivers.nanonis.watch.ScanWatch`, or a stand-in."""

    trouble: str

    @property
    def next_poll_s(self) -> float: ...
    def poll(self) -> list[GrowingEvent]: ...
    def faults(self) -> list[str]: ...
    def close(self) -> None: ...


class NanonisSource:
    """Ask one controller for the frame in progress, from a thread of its own.

    Parameters
    ----------
    settings : NanonisSettings
        Which controller, which channel, how often.
    tell : callable
        Takes source, sender and event.
    watch : Watch or None
        What is asked; None: a :class:`ScanWatch` of these settings.
    fault_rate : FaultRate or None
        How many faults are reported; all are counted. None: ten a minute.
    """

    def __init__(
        self,
        settings: NanonisSettings,
        tell: Tell,
        *,
        watch: Watch | None = None,
        fault_rate: FaultRate | None = None,
    ) -> None:
        self.sender = settings.name or f"{settings.host}:{settings.port}"
        self.name = f"nanonis {self.sender}"
        self._tell = tell
        self._watch: Watch = watch or ScanWatch(
            settings.host,
            settings.port,
            sender=self.sender,
            channel=settings.channel,
            backward=settings.backward,
            poll_s=settings.poll_s,
            timeout_s=settings.timeout_s,
        )
        self._fault_rate = fault_rate or FaultRate()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._counters = dict.fromkeys(("scans", "lines", "faults"), 0)
        self._trouble = "not started"
        self._scan = ""

    def start(self, put: Put, report: Report, known: Known) -> None:
        """Begin; returns at once. A controller that is away is asked again until it is there."""
        self._trouble = ""
        self._thread = threading.Thread(target=self._run, args=(report,), name=self.name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End, and wait for the thread, at most 5 s."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(5.0)
            if self._thread.is_alive():
                logger.warning("%s: still waits for an answer, left to end by itself", self.name)
        self._trouble = "stopped"

    def status(self) -> SourceStatus:
        """How it stands; called from other threads."""
        trouble = self._trouble
        if not trouble and self._thread is not None and not self._thread.is_alive():
            trouble = "the thread has ended because of a bug; the log has the traceback"
        detail = trouble or (f"follows scan {self._scan}" if self._scan else "waits for a scan to begin")
        return SourceStatus(self.name, not trouble, detail, dict(self._counters))

    def _run(self, report: Report) -> None:
        try:
            while not self._stopping.is_set():
                for event in self._watch.poll():
                    self._pass_on(event, report)
                if self._watch.trouble != self._trouble:
                    logger.warning("%s: %s", self.name, self._watch.trouble or "answers again")
                    self._trouble = self._watch.trouble
                for reason in self._watch.faults():
                    self._fault(reason, report)
                self._stopping.wait(self._watch.next_poll_s)
            if self._scan:
                self._tell(self.name, self.sender, ScanEnd(self._scan, ScanOutcome.LOST))
        except StoppedError:
            pass
        finally:
            self._watch.close()

    def _pass_on(self, event: GrowingEvent, report: Report) -> None:
        if isinstance(event, ScanStart):
            self._counters["scans"] += 1
            self._scan = event.scan
        elif isinstance(event, ScanLines):
            self._counters["lines"] += len(event.forward)
        else:
            self._scan = ""
        try:
            self._tell(self.name, self.sender, event)
        except GrowingError as error:
            self._fault(str(error), report)

    def _fault(self, reason: str, report: Report) -> None:
        self._counters["faults"] += 1
        withheld = self._fault_rate.admit()
        if withheld is not None:
            more = f" (and {withheld} more faults that were not reported)" if withheld else ""
            report(Fault(self.name, "receive", reason + more, datetime.now(UTC)))
        else:
            logger.info("%s: %s", self.name, reason)  # not stored, but to be found by who looks for it
