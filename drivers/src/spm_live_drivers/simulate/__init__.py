"""A simulated microscope: scans a drawn or a recorded surface, saves the scans, and answers over TCP meanwhile.

``spm-live-simulate FOLDER`` runs it. :class:`SimulatedInstrument` draws and saves;
:class:`~spm_live_drivers.simulate.controller.SimulatedController` lets it scan line by line, answers the calls of the
Nanonis TCP programming interface, and goes wrong on demand (:mod:`spm_live_drivers.simulate.faults`). The
files are ``.sxm``, or those of Omicron MATRIX where nothing is to answer over TCP.
"""

from __future__ import annotations

from spm_live_drivers.simulate.command import main
from spm_live_drivers.simulate.controller import SimulatedController
from spm_live_drivers.simulate.faults import Fault, FaultPlan, Injection
from spm_live_drivers.simulate.instrument import SimulatedInstrument
from spm_live_drivers.simulate.options import ControllerOptions
from spm_live_drivers.simulate.plan import SAMPLE, ScanPlan
from spm_live_drivers.simulate.running import EndedScan
from spm_live_drivers.simulate.saving import SLOW_PIECES

__all__ = [
    "SAMPLE",
    "SLOW_PIECES",
    "ControllerOptions",
    "EndedScan",
    "Fault",
    "FaultPlan",
    "Injection",
    "ScanPlan",
    "SimulatedController",
    "SimulatedInstrument",
    "main",
]
