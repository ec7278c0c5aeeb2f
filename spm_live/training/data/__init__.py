"""Data sets: what a person labelled, in any of the usual ways, as pictures to learn from.

``load_pictures`` reads and repairs; ``split`` sets apart what validation may use; ``check_dataset`` reports.
"""

from __future__ import annotations

from spm_live.training.data.label_rule import LabelRule
from spm_live.training.data.load import Loaded, load_pictures, survey_pictures
from spm_live.training.data.picture_files import PictureOptions
from spm_live.training.data.problem import Problem, Severity

__all__ = [
    "LabelRule",
    "Loaded",
    "PictureOptions",
    "Problem",
    "Severity",
    "load_pictures",
    "survey_pictures",
]
