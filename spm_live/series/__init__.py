"""From frame to frame: how a place drifted, and what became of each molecule on it.

Pure: frames go in, links come out. ``docs/explanation/drift-and-tracking.md`` tells how and why.
"""

from __future__ import annotations

from spm_live.series.field import DriftField
from spm_live.series.frames import Method, Molecules, SeriesFrame
from spm_live.series.links import FrameLinks, Link, LinkKind
from spm_live.series.memory import remember
from spm_live.series.message import links_message, series_frame
from spm_live.series.step import follow

__all__ = [
    "DriftField",
    "FrameLinks",
    "Link",
    "LinkKind",
    "Method",
    "Molecules",
    "SeriesFrame",
    "follow",
    "links_message",
    "remember",
    "series_frame",
]
