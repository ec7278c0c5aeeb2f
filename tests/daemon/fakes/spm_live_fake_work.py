"""Work for the worker process that does what the text in the file says; imported by name in the child."""

from __future__ import annotations

import os
import threading

from spm_live.domain import (
    ClassCount,
    FrameInfo,
    FrameRef,
    ModelIdentity,
    MoleculeMap,
    Processed,
    ScanGeometry,
    Trace,
)
from spm_live.errors import FrameError, NotReadyError, SetupError
from spm_live.find import Job
from spm_live.live.follow import LiveJob, LiveResult
from spm_live.scanning import LiveCount, LiveMap, ScanQuality
from spm_live.settings import ModelSettings
from spm_live_drivers.registry import file_sha256, read_frame


class FakeWork:
    """A file that says ``ok``, ``fault``, ``bug``, ``crash``, ``hang`` or ``wait`` (for another) gets just that."""

    def __init__(self, settings: ModelSettings) -> None:
        if settings.name == "broken":
            raise SetupError(["no model is called 'broken'", "and it does not fit either"])
        if settings.name == "deadly":
            os._exit(9)  # no exception, no clean-up: as a crash in native code
        self.identity = ModelIdentity(settings.name, "1", "00")
        self.classes = ("molecule",)

    def __call__(self, job: Job) -> Processed:
        if job.path.read_bytes().startswith(b"SPMFRAME1"):
            return self._found(read_frame(job.path).info)
        text = job.path.read_text()
        ref = FrameRef(str(job.path), file_sha256(job.path), "Z", Trace.FORWARD)
        if text.startswith("fault"):
            raise FrameError(ref, "read", "the header says so")
        if text.startswith("wait") and not job.path.with_suffix(".chain").exists():
            raise NotReadyError(ref, "read", "the chain does not list it yet")
        if text.startswith("bug"):
            raise ZeroDivisionError("a bug")
        if text.startswith("crash"):
            os._exit(9)  # no exception, no clean-up: as a crash in native code
        if text.startswith("hang"):
            threading.Event().wait()
        info = FrameInfo(ref, ScanGeometry(4, 4, (4.0, 4.0)), "m", complete_rows=4, format="fake")
        return self._found(info)

    def _found(self, info: FrameInfo) -> Processed:
        counts = {"molecule": ClassCount(0, 0, 0.0, 0.0)}
        return Processed(
            MoleculeMap(info, self.identity, (), counts, 16.0, 0.0), b"preview", b"thumbnail", {"read": 1.0}
        )

    def follow(self, job: LiveJob) -> LiveResult:
        """Obeys the name of the scan; knows only what it was told since it was started."""
        text = job.info.ref.source
        if "fault" in text:
            raise FrameError(job.info.ref, "detect", "the network gave NaN")
        if "crash" in text:
            os._exit(9)
        lines = self.__dict__.setdefault("lines", {})
        if job.first_line not in {0, lines.get(job.key)}:
            return LiveResult(None, None)
        lines[job.key] = job.after_last
        counts = {"molecule": LiveCount(job.after_last, 0, 0, 0.0, 0.0, 0.0)}
        found = LiveMap(job.info, self.identity, (), counts, float(job.after_last), 0.0, 0, b"png")
        return LiveResult(found, ScanQuality(job.after_last))
