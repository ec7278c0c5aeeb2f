"""A Nanonis controller over its TCP programming interface: it is asked what it scans, and nothing else."""
