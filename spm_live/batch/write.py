"""What one worker of ``convert`` does with one file: read, level, encode, write."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from spm_live.batch.encode import FORMATS, ConvertOptions, encode
from spm_live.batch.output import write_file
from spm_live.batch.plan import FileTask, channel_labels, output_name
from spm_live.batch.reading import reader_for
from spm_live.batch.report import FileFault
from spm_live.batch.tables import frame_row
from spm_live.domain import Frame, ReadOptions, Trace
from spm_live.errors import FrameError
from spm_live_drivers.contract import Reader
from spm_live_drivers.registry import readers


@dataclass(frozen=True, slots=True)
class Converted:
    """What became of one file.

    Parameters
    ----------
    state : str
        ``"done"``, ``"partial"``, ``"failed"``, ``"ignored"`` or ``"full"`` (the disk is).
    outputs : tuple of (str, int)
        Names relative to the output folder, and sizes in bytes.
    rows : tuple of str
        A line of ``frames.csv`` for each frame.
    faults : tuple of FileFault
        Of the channels that failed.
    """

    state: str
    outputs: tuple[tuple[str, int], ...] = ()
    rows: tuple[str, ...] = ()
    faults: tuple[FileFault, ...] = ()


def converter(setup: tuple[ConvertOptions, Path]) -> Callable[[FileTask], Converted]:
    """Make the function that a worker of the pool calls for every file."""
    options, out = setup
    # The digest of a whole file takes longer than all that is done here with one channel of it.
    options = replace(options, read=replace(options.read, digest=False))
    readers()  # an installed reader that cannot be loaded is told once, not of every file

    def work(task: FileTask) -> Converted:
        return convert_file(task, options, out)

    return work


def convert_file(task: FileTask, options: ConvertOptions, out: Path) -> Converted:
    """Convert one file, all wanted channels of it."""
    path = Path(task.path)
    try:
        reader = reader_for(task)
        wanted = list(_wanted(reader, path, options)) if reader is not None else []
    except FrameError as error:
        return Converted("failed", faults=(_fault(task, error.stage, error.reason),))
    if reader is None or not wanted:
        return Converted("ignored")
    outputs: list[tuple[str, int]] = []
    rows: list[str] = []
    faults: list[FileFault] = []
    partial = False
    for read_options, label in wanted:
        try:
            frame = reader.read(path, read_options)
            written = _write(frame, output_name(task.name, label, ""), options, out)
        except FrameError as error:
            faults.append(_fault(task, error.stage, error.reason))
        except OSError as error:
            if error.errno == errno.ENOSPC:
                return Converted("full", faults=(_fault(task, "write", "no room is left on the disk"),))
            faults.append(_fault(task, "write", f"cannot be written: {error.strerror or error}"))
        else:
            outputs += written
            rows.append(frame_row((name for name, _ in written), frame.info))
            partial = partial or frame.info.partial
    state = "failed" if faults else "partial" if partial else "done"
    return Converted(state, tuple(outputs), tuple(rows), tuple(faults))


def _wanted(reader: Reader, path: Path, options: ConvertOptions) -> Iterator[tuple[ReadOptions, str]]:
    """What is to be read of a file, and what tells the outputs apart."""
    traces = (Trace.FORWARD, Trace.BACKWARD) if options.both_traces else (options.read.trace,)
    if not options.every_channel:
        if reader.wanted(path, options.read):
            label = channel_labels([options.read.channel])[0] if options.read.channel else ""
            for trace in traces:
                yield replace(options.read, trace=trace), _label(label, trace, options)
        return
    channels = reader.channels(path)
    for channel, label in zip(channels, channel_labels(channel.name for channel in channels), strict=True):
        for trace in traces:
            read = replace(options.read, channel=channel.name, trace=trace)
            if trace in channel.traces and reader.wanted(path, read):
                yield read, _label(label, trace, options)


def _label(label: str, trace: Trace, options: ConvertOptions) -> str:
    return ".".join(part for part in (label, str(trace) if options.both_traces else "") if part)


def _write(frame: Frame, name: str, options: ConvertOptions, out: Path) -> list[tuple[str, int]]:
    written = []
    for kind in options.formats:
        content = encode(frame, kind, options)
        full = name + FORMATS[kind]
        write_file(out, full, content)
        written.append((full, len(content)))
    return written


def _fault(task: FileTask, stage: str, reason: str) -> FileFault:
    return FileFault(task.path, stage, reason)
