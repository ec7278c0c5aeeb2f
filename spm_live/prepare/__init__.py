"""Turning a frame into what a model, or a person, wants to see.

Everything here is a pure function: it never writes what it was given and keeps nothing between calls, so that the
result does not depend on the order of calls or the number of threads.
"""

from __future__ import annotations

from spm_live.prepare.contrast import quantile_limits, stretch, stretch_between, to_grey
from spm_live.prepare.levelling import level, subtract_polynomial
from spm_live.prepare.model_input import prepare
from spm_live.prepare.preview import draw_preview
from spm_live.prepare.resample import letterbox_for, resample
from spm_live.prepare.rows import align_rows_by_differences, align_rows_by_median
from spm_live.prepare.scars import mark_scars, remove_scars
from spm_live.prepare.tiles import cut_tiles, tile_origins

__all__ = [
    "align_rows_by_differences",
    "align_rows_by_median",
    "cut_tiles",
    "draw_preview",
    "letterbox_for",
    "level",
    "mark_scars",
    "prepare",
    "quantile_limits",
    "remove_scars",
    "resample",
    "stretch",
    "stretch_between",
    "subtract_polynomial",
    "tile_origins",
    "to_grey",
]
