"""The same network on every installed backend of Keras: the same detections, and it learns."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("keras")

BACKENDS = {"tensorflow": "tensorflow", "torch": "torch", "jax": "jax"}
INSTALLED = [name for name, module in BACKENDS.items() if importlib.util.find_spec(module)]
SCRIPT = Path(__file__).with_name("backend_run.py")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("backends")


@lru_cache(maxsize=len(BACKENDS))
def run_on(backend: str, folder: Path) -> dict[str, np.ndarray]:
    """Run the script in a process of its own: Keras chooses its backend when it is imported."""
    out = folder / f"{backend}.npz"
    wanted = {"KERAS_BACKEND": backend, "OMP_NUM_THREADS": "1", "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "2"}
    ran = subprocess.run(
        [sys.executable, str(SCRIPT), str(out)],
        env=os.environ | wanted,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-4000:]
    with np.load(out, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_network_learns_on_every_backend(backend: str, folder: Path) -> None:
    if backend not in INSTALLED:
        pytest.skip(f"{backend} is not installed")
    losses = run_on(backend, folder)["losses"]
    assert np.isfinite(losses).all()
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("backend", BACKENDS)
def test_every_backend_detects_what_the_first_detects(backend: str, folder: Path) -> None:
    if backend not in INSTALLED or backend == INSTALLED[0]:
        pytest.skip(f"{backend} is not installed, or there is nothing to compare it with")
    first, other = run_on(INSTALLED[0], folder), run_on(backend, folder)
    assert (first["scores"] > 0).sum() >= 10
    assert len(np.unique(first["classes"])) == 2
    for level in range(4):
        scale = np.abs(first[f"level{level}"]).max()
        np.testing.assert_allclose(other[f"level{level}"], first[f"level{level}"], atol=1e-5 * scale)
    np.testing.assert_allclose(other["scores"], first["scores"], atol=1e-4)
    np.testing.assert_array_equal(other["classes"], first["classes"])
    np.testing.assert_allclose(other["boxes"], first["boxes"], atol=1e-2)
    np.testing.assert_allclose(other["masks"], first["masks"], atol=1e-4)
