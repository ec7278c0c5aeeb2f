"""convert, beside a plain loop of nanonispy2 and matplotlib over the same files."""

from __future__ import annotations

import argparse
import os
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
    plain_cpu_ms: list[float] = []
    cpu_ms: dict[str, list[float]] = {kind: [] for kind in KINDS}
    ours: dict[str, list[float]] = {kind: [] for kind in KINDS}
    ratios: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(arguments.rounds):
        for kind, formats in KINDS.items():
            before_s = _cpu_s()
            plain.append(_reference(files[:REFERENCE_FILES], folder))
            plain_cpu_ms.append(1e3 * (_cpu_s() - before_s) / len(files[:REFERENCE_FILES]))
            out = folder / "out"
            before_s, began_s = _cpu_s(), time.perf_counter()
            summary = convert([folder / "raw"], out, ConvertOptions(formats=formats))
            ours[kind].append(len(files) / (time.perf_counter() - began_s))
            cpu_ms[kind].append(1e3 * (_cpu_s() - before_s) / len(files))
            if summary.done != len(files):
                raise RuntimeError(f"convert did {summary.done} of {len(files)} files: {summary}")
            ratios[kind].append(ours[kind][-1] / plain[-1])
            shutil.rmtree(out)
    # A run of its own: looking at the memory of four processes twenty times a second is work, too.
    with TreeMemory() as memory:
        convert([folder / "raw"], folder / "out", ConvertOptions())
    note = f"{len(files)} files, {sum(path.stat().st_size for path in files) / len(files) / 1e6:.2f} MB each on average"
    lines = [Line("nanonispy2 + imsave, a plain loop to PNG", statistics.median(plain), "files/s", note=note)]
    for kind in KINDS:
        lines.append(Line(f"convert to {kind}", statistics.median(ours[kind]), "files/s"))
        spread = f"{min(ratios[kind]):.1f} to {max(ratios[kind]):.1f} over {len(ratios[kind])} rounds"
        ratio = statistics.median(ratios[kind])
        lines.append(Line(f"convert to {kind}, over the loop", ratio, "x", GOAL_RATIO, at_least=True, note=spread))
    # Processor time hardly depends on what else the machine does: it tells whether a missed ratio is the program's.
    lines.append(Line("the loop, processor time per file", statistics.median(plain_cpu_ms), "ms"))
    lines += [
        Line(f"convert to {kind}, processor time per file", statistics.median(cpu_ms[kind]), "ms", note="all processes")
        for kind in KINDS
    ]
    held = "sum over the processes, shared pages counted once each"
    lines.append(
        Line("convert, peak memory (PSS)", memory.peak_pss_mb, "MB", GOAL_MEMORY_MB, note=held)
        if memory.peak_pss_mb
        else Line("convert, peak memory (PSS)", None, note="this system does not tell it")
    )
    lines.append(
        Line("convert, peak memory (RSS)", memory.peak_rss_mb, "MB", note="shared pages counted for every process")
    )
    return lines


def _cpu_s() -> float:
    """Processor time of this process and of all its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


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
