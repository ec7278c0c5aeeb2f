"""Drawn scans of molecules on a surface, with the truth about every molecule.

The simulated instrument shows :func:`draw_scan`'s three kinds of molecules to the daemon. Models learn from
:func:`spm_live_drivers.synthetic.varied.draw_varied_scan`: any molecules in any arrangement on any surface. That one
needs OpenCV, which comes with spm-live and not with the drivers, so it is not imported here. One seed gives one picture
with one version of numpy: nothing here has global state.

>>> scan = draw_scan(7, rows=64, columns=64, size_nm=12.0)
>>> scan.heights.shape, str(scan.heights.dtype)
((64, 64), 'float32')
>>> bool((draw_scan(7, rows=64, columns=64, size_nm=12.0).heights == scan.heights).all())
True
"""

from __future__ import annotations

from spm_live_drivers.synthetic.molecules import MOLECULE_CLASSES, Species
from spm_live_drivers.synthetic.sample import Sample, Tip, draw_sample, draw_tip
from spm_live_drivers.synthetic.scan import SyntheticMolecule, SyntheticScan, draw_scan

__all__ = [
    "MOLECULE_CLASSES",
    "Sample",
    "Species",
    "SyntheticMolecule",
    "SyntheticScan",
    "Tip",
    "draw_sample",
    "draw_scan",
    "draw_tip",
]
