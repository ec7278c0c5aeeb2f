"""Readers for scanning-probe files, the instrument-side agent and a simulated microscope."""

__version__ = "0.1.0"
