"""Data sets: what a person labelled, in any of the usual ways, as pictures to learn from.

``load_pictures`` reads and repairs; ``split`` sets apart what validation may use; ``check_dataset`` reports.
"""

from __future__ import annotations

from spm_live.training.data.check import DatasetReport, check_dataset
from spm_live.training.data.label_rule import LabelRule
from spm_live.training.data.load import Loaded, load_pictures, survey_pictures
from spm_live.training.data.overlap import Overlap, overlap_of
from spm_live.training.data.picture_files import PictureOptions
from spm_live.training.data.problem import Problem, Severity
from spm_live.training.data.sheet import draw_sheet, write_sheets
from spm_live.training.data.split import Split, hold_out, split, split_by_picture, split_by_strip, split_region
from spm_live.training.data.to_labelme import to_labelme, write_labelme

__all__ = [
    "DatasetReport",
    "LabelRule",
    "Loaded",
    "Overlap",
    "PictureOptions",
    "Problem",
    "Severity",
    "Split",
    "check_dataset",
    "draw_sheet",
    "hold_out",
    "load_pictures",
    "overlap_of",
    "split",
    "split_by_picture",
    "split_by_strip",
    "split_region",
    "survey_pictures",
    "to_labelme",
    "write_labelme",
    "write_sheets",
]
