"""convert, beside a plain loop of nanonispy2 and matplotlib over the same files."""

from __future__ import annotations

import argparse
import shutil
import statistics
import time
import warnings
from pathlib import Path

from bench_result import Line, TreeMemory
from bench_scans import complete_scans, drawn_scans, replicate

REFERENCE_FILES = 160
"""The loop takes so many of the files in each round; ours takes all."""
GOAL_RATIO = 5.0
GOAL_MEMORY_MB = 300.0
KINDS = {"TIFF": ("tiff",), "PNG": ("png",), "TIFF and PNG": ("tiff", "png")}


def measure(folder: Path, arguments: argparse.Namespace) -> list[Line]:
    """Files per second of both, their ratio, and the memory of the whole process tree."""
    from spm_live.batch.convert import convert
    from spm_live.batch.encode import ConvertOptions

    scans = complete_scans(arguments.data) or list(drawn_scans(folder / "drawn", 8, 256))
    files = replicate(scans, folder / "raw", arguments.files)
    _reference(files[: len(scans)], folder)
    plain: list[float] = []
    ours: dict[str, list[float]] = {kind: [] for kind in KINDS}
    ratios: dict[str, list[float]] = {kind: [] for kind in KINDS}
    rss_mb = pss_mb = 0.0
    for _ in range(arguments.rounds):
        for kind, formats in KINDS.items():
            plain.append(_reference(files[:REFERENCE_FILES], folder))
            out = folder / "out"
            with TreeMemory() as memory:
                began_s = time.perf_counter()
                summary = convert([folder / "raw"], out, ConvertOptions(formats=formats))
                ours[kind].append(len(files) / (time.perf_counter() - began_s))
            if summary.done != len(files):
                raise RuntimeError(f"convert did {summary.done} of {len(files)} files: {summary}")
            ratios[kind].append(ours[kind][-1] / plain[-1])
            rss_mb, pss_mb = max(rss_mb, memory.peak_rss_mb), max(pss_mb, memory.peak_pss_mb)
            shutil.rmtree(out)
    note = f"{len(files)} files, {sum(path.stat().st_size for path in files) / len(files) / 1e6:.2f} MB each on average"
    lines = [Line("nanonispy2 + imsave, a plain loop to PNG", statistics.median(plain), "files/s", note=note)]
    for kind in KINDS:
        lines.append(Line(f"convert to {kind}", statistics.median(ours[kind]), "files/s"))
        spread = f"{min(ratios[kind]):.1f} to {max(ratios[kind]):.1f} over {len(ratios[kind])} rounds"
        ratio = statistics.median(ratios[kind])
        lines.append(Line(f"convert to {kind}, over the loop", ratio, "x", GOAL_RATIO, at_least=True, note=spread))
    held = "sum over the processes, shared pages counted once each"
    lines.append(
        Line("convert, peak memory (PSS)", pss_mb, "MB", GOAL_MEMORY_MB, note=held)
        if pss_mb
        else Line("convert, peak memory (PSS)", None, note="this system does not tell it")
    )
    lines.append(Line("convert, peak memory (RSS)", rss_mb, "MB", note="shared pages counted for every process"))
    return lines


def _reference(files: list[Path], folder: Path) -> float:
    """Files per second of what a person would write."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    import nanonispy2

    out = folder / "plain"
    out.mkdir(exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        began_s = time.perf_counter()
        for path in files:
            scan = nanonispy2.read.Scan(str(path))
            plt.imsave(out / f"{path.stem}.png", scan.signals["Z"]["forward"])
        return len(files) / (time.perf_counter() - began_s)
