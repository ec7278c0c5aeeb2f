"""What is done with scans in progress: one update at a time to the worker, and what came of it to the board."""

from __future__ import annotations

import logging
from collections import deque
from datetime import UTC, datetime

from spm_live.daemon.growing import LiveBoard
from spm_live.daemon.handling import Handling, Stored
from spm_live.daemon.notices import Notices
from spm_live.daemon.status import StatusBoard
from spm_live.daemon.worker import Worker, WorkerCrashError
from spm_live.domain import Fault
from spm_live.errors import FrameError
from spm_live.live.follow import LiveJob
from spm_live.scanning import LiveScan, ScanQuality
from spm_live.sources import StoppedError

logger = logging.getLogger(__name__)

MOST_SEEN = 1000
"""So many qualities wait for the disk; of more, the oldest are not kept."""
MOST_CRASHES = 2
"""A scan that crashed the worker this often is shown without molecules."""


class Following:
    """Feeds the worker with new lines.

    Parameters
    ----------
    board : LiveBoard
        Where scans in progress stand.
    handling : Handling
        Where faults go, and how long the worker gets.
    status : StatusBoard
        Where updates are counted.
    notices : Notices
        Asked about every new state.
    """

    def __init__(self, board: LiveBoard, handling: Handling, status: StatusBoard, notices: Notices) -> None:
        self.board = board
        board.told = self._told
        self._notices = notices
        self._handling = handling
        self._status = status
        self._crashes: dict[str, int] = {}
        self._seen: deque[tuple[int, ScanQuality]] = deque(maxlen=MOST_SEEN)  # frames whose quality is to be kept

    def step(self, worker: Worker) -> bool:
        """Work on the new lines of one scan.

        Returns
        -------
        bool
            Whether there were any.

        Raises
        ------
        StoppedError
            If the daemon stops meanwhile.
        """
        self.keep_qualities()
        job = self.board.next_job()
        if job is None:
            return False
        try:
            result = worker.follow(
                job, timeout_s=self._handling.settings.frame_timeout_s, give_up=self._handling.out_of_time
            )
        except InterruptedError as error:
            raise StoppedError from error
        except FrameError as error:
            self._give_up(job, error.stage, error.reason)
        except WorkerCrashError as crash:
            self._crashed(job, crash)
        else:
            if self.board.done(job, result) is not None:
                self._status.count("live_updates")
                self._crashes.pop(job.key, None)
        return True

    def frame_stored(self, stored: Stored) -> None:
        """A frame was stored: its scan, where it was followed, is over."""
        scan, outdated = self.board.frame_stored(stored.message, stored.sample)
        if outdated is not None:
            self._handling.supersede(outdated, stored.message["id"])
        self._notices.finished(stored.message, scan)
        self.keep_qualities()

    def _told(self, scan: LiveScan) -> None:
        """A scan was published; called under the board's lock, by the sources' threads too."""
        if scan.frame_id is not None and scan.quality is not None:
            self._seen.append((scan.frame_id, scan.quality))
        self._notices.scanning(scan)

    def keep_qualities(self) -> None:
        """Keep what was seen of scans with the frames that they became."""
        while self._seen:
            frame_id, quality = self._seen[0]
            self._handling.keep_quality(frame_id, quality)
            self._seen.popleft()

    def _crashed(self, job: LiveJob, crash: WorkerCrashError) -> None:
        self._status.count("worker_restarts" if crash.died else "retries")
        tries = self._crashes[job.key] = self._crashes.get(job.key, 0) + 1
        logger.error("%s: the worker %s (try %d)\n%s", job.info.ref.source, crash.reason, tries, crash.detail)
        self.board.lost_worker()
        if tries >= MOST_CRASHES:
            self._give_up(job, "worker", f"crashed the worker {tries} times while it was scanned: it {crash.reason}")

    def _give_up(self, job: LiveJob, stage: str, reason: str) -> None:
        self._crashes.pop(job.key, None)
        ref = self.board.failed(job)
        if ref is not None:
            shown = f"{reason}; it is shown without molecules until it is finished"
            self._handling.report(Fault(ref.source, stage, shown, datetime.now(UTC)))
