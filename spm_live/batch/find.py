"""What one worker of ``detect`` does with one file: read, find its molecules, draw."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from spm_live.batch.output import write_file
from spm_live.batch.plan import FileTask, output_name
from spm_live.batch.reading import reader_for
from spm_live.batch.report import FileFault
from spm_live.domain import Processed, ReadOptions
from spm_live.errors import FrameError
from spm_live.find import FindMolecules, Job
from spm_live.publish.exporters.picture import draw_annotated
from spm_live.publish.message import frame_message
from spm_live.settings import ModelSettings

PICTURES = "pictures"
"""Sub-folder of the output folder that annotated pictures go to."""


@dataclass(frozen=True, slots=True)
class DetectOptions:
    """What ``detect`` does with a file.

    Parameters
    ----------
    model : ModelSettings
        The recogniser.
    read : ReadOptions
        How files are read.
    pictures : bool
        Draw every frame with its molecules, too.
    """

    model: ModelSettings
    read: ReadOptions
    pictures: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """What became of one file.

    Parameters
    ----------
    state : str
        ``"done"``, ``"failed"``, ``"ignored"`` or ``"full"`` (the disk is).
    processed : Processed or None
        For the store.
    fault : FileFault or None
        Why it failed.
    """

    state: str
    processed: Processed | None = None
    fault: FileFault | None = None


def finder(setup: tuple[DetectOptions, Path]) -> Callable[[FileTask], Found]:
    """Load the model, and make the function that a worker of the pool calls for every file.

    Raises
    ------
    SetupError
        If the model cannot be loaded.
    """
    import cv2

    options, out = setup
    cv2.setNumThreads(1)  # the other cores have workers of their own
    work = FindMolecules(options.model)

    def find(task: FileTask) -> Found:
        return find_in_file(task, work, options, out)

    return find


def find_in_file(task: FileTask, work: Callable[[Job], Processed], options: DetectOptions, out: Path) -> Found:
    """Find the molecules of one file."""
    path = Path(task.path)
    try:
        reader = reader_for(task)
        if reader is None or not reader.wanted(path, options.read):
            return Found("ignored")
        processed = work(Job(path, replace(options.read, digest=True)))
        if options.pictures:
            picture = draw_annotated(frame_message(0, processed, when=datetime.now(UTC)), processed.preview_png)
            write_file(out, f"{PICTURES}/{output_name(task.name, '', '.png')}", picture)
    except FrameError as error:
        return Found("failed", fault=FileFault(task.path, error.stage, error.reason))
    except OSError as error:
        if error.errno == errno.ENOSPC:
            return Found("full", fault=FileFault(task.path, "write", "no room is left on the disk"))
        return Found("failed", fault=FileFault(task.path, "write", f"cannot be written: {error.strerror or error}"))
    return Found("done", processed)
