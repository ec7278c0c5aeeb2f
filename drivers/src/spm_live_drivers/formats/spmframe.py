"""Message files: a frame that came over ZeroMQ and was kept on disk."""

from __future__ import annotations

from pathlib import Path

from spm_live_drivers.contract import ChannelInfo, FileState, FileStatus, Frame, FrameRef, ReadOptions, Trace
from spm_live_drivers.errors import FrameError
from spm_live_drivers.wire import decode
from spm_live_drivers.wire_file import MAGIC, SUFFIX, expected_bytes, read_parts, read_prefix


class SpmFrameReader:
    """Reads the file form of a wire message (:mod:`spm_live_drivers.wire_file`).

    The frame keeps the source, the digest and the format that the sender gave it: it is the scan on the instrument, not
    the file in the inbox, that a person looks for.
    """

    name = "wire"
    title = "spm-live frame message"
    suffixes = (SUFFIX,)

    def accepts(self, path: Path, head: bytes) -> bool:
        """Whether the file begins as a message file does."""
        return head.startswith(MAGIC)

    def wanted(self, path: Path, options: ReadOptions) -> bool:
        """Every message file holds one picture, chosen by its sender."""
        return True

    def state(self, path: Path) -> FileState:
        """Compare the size of the file with what its first bytes promise.

        Raises
        ------
        FrameError
            If it is no message file, or longer than it promises.
        """
        prefix, size = read_prefix(path)
        expected = expected_bytes(prefix, origin=str(path))
        if expected is None:
            return FileState(FileStatus.INCOMPLETE, f"{size} bytes, its start is not written yet")
        if size > expected:
            raise FrameError(FrameRef(str(path)), "read", f"the file has {size} bytes, its start promises {expected}")
        if size < expected:
            return FileState(FileStatus.INCOMPLETE, f"{size} of {expected} bytes")
        return FileState(FileStatus.COMPLETE)

    def channels(self, path: Path) -> tuple[ChannelInfo, ...]:
        """The one channel of the message.

        Raises
        ------
        FrameError
            As :meth:`read`.
        """
        info = self.read(path).info
        return (ChannelInfo(info.ref.channel, info.unit, (info.ref.trace or Trace.FORWARD,)),)

    def read(self, path: Path, options: ReadOptions = ReadOptions()) -> Frame:
        """Read the frame.

        Parameters
        ----------
        path : Path
            The message file.
        options : ReadOptions
            A ``channel`` must be that of the message. ``forward`` is also the default of ``trace`` and so no demand: a
            message that holds the backward trace is read with it; asking for ``backward`` is a demand.

        Raises
        ------
        FrameError
            If the file is cut, padded, damaged, or holds another channel or trace than the one asked for.
        """
        frame = decode(read_parts(path), origin=str(path)).frame
        channel, trace = frame.ref.channel, frame.ref.trace
        if options.channel is not None and options.channel.casefold() != channel.casefold():
            raise FrameError(frame.ref, "read", f"holds the channel {channel!r}, not {options.channel!r}")
        if options.trace is Trace.BACKWARD and trace is not Trace.BACKWARD:
            raise FrameError(frame.ref, "read", "holds the forward trace only")
        return frame
