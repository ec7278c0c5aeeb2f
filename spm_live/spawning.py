"""What a worker process starts with, be it the daemon's or one of a batch."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

ENVIRONMENT = {
    # Each worker is one core's share: linear algebra must not start a thread per core in every one.
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"),
    # glibc gives arrays over 128 KiB back to the system at once and asks for them again: that is a third of the time a
    # frame takes (mallopt(3)). With these it keeps them, up to frames of 2048 x 2048 px.
    "MALLOC_MMAP_THRESHOLD_": str(16 * 1024 * 1024),
    "MALLOC_TRIM_THRESHOLD_": str(64 * 1024 * 1024),
}
"""What a worker process starts with; settings of the user's own go over it."""


@contextlib.contextmanager
def worker_environment() -> Iterator[None]:
    """A process started in here has :data:`ENVIRONMENT`.

    It has to be inherited: by the time a worker's own code runs, NumPy has been imported and memory allocated.
    """
    missing = {name: value for name, value in ENVIRONMENT.items() if name not in os.environ}
    os.environ.update(missing)
    try:
        yield
    finally:
        for name in missing:
            del os.environ[name]
