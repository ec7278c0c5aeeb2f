"""How good a scan is, from the lines at hand."""
