"""Counts molecules in scanning-probe pictures while the microscope is still running."""

__version__ = "0.1.0"
