"""The daemon: owns threads, queues, clocks and signals, so that the pipeline owns none.

``life`` runs it, ``handling`` brings one arrival to its end, ``worker`` is the process that does the work, ``status``
is what it tells of itself. Nothing is imported here, so that the worker process loads only what it needs.
"""
