"""One module per file format; each holds one class that keeps :class:`spm_live_drivers.contract.Reader`."""
