"""Offline: synthetic scans, training and export. The only place that may import a training library."""
