"""The daemon: owns threads, queues, clocks and signals, so that the pipeline owns none."""

from spm_live.daemon.life import Daemon
from spm_live.daemon.worker import FindMolecules, Job, Worker, WorkerCrashError

__all__ = ["Daemon", "FindMolecules", "Job", "Worker", "WorkerCrashError"]
