"""Work over whole archives: every file once, on every core, resumable.

``plan`` lists the files, ``pool`` spreads them over processes, ``journal`` remembers what was done; ``convert`` writes
pictures and ``detect`` finds molecules. Nothing is imported here, so that a worker loads only what its own work needs.
"""
