"""On what, and with what, a model was made."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("spm-live", "keras", "tensorflow", "tensorflow-cpu", "torch", "jax", "onnx", "onnxruntime", "numpy")


def versions() -> str:
    """Python, and the packages that took part, with their versions."""
    names = [f"Python {platform.python_version()}"]
    for name in PACKAGES:
        try:
            names.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(names)


def machine() -> str:
    """Kind of processor, cores and accelerators; no name of the machine itself."""
    words = [_processor(), f"{os.cpu_count()} cores", platform.system()]
    return ", ".join([*words, *_accelerators()])


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()


def _accelerators() -> list[str]:
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        details = [tf.config.experimental.get_device_details(one) for one in tf.config.list_physical_devices("GPU")]
        return [str(one.get("device_name", "GPU")) for one in details]
    if keras.backend.backend() == "torch":
        import torch

        return [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return []
