"""The picture of a label check: every molecule where t-SNE puts it, in the colour of its class."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spm_live.errors import SetupError
from spm_live.training.label_check import LabelCheck

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5195", "#555555")
"""Told apart by colour-blind people as well (Okabe and Ito 2008, jfly.uni-koeln.de/color), but for the last two."""
MARKERS = "osD^vP"
THUMBNAILS = 250
"""More crops than that would cover each other; they become points."""
SUFFIXES = (".png", ".svg", ".pdf")


def draw_label_check(check: LabelCheck, path: Path) -> None:
    """Draw the embedding.

    Parameters
    ----------
    check : LabelCheck
    path : Path
        A ``.png``, ``.svg`` or ``.pdf`` file. Suspicious labels are ringed and numbered in the order of their list.

    Raises
    ------
    SetupError
        If it has another suffix, cannot be written, or matplotlib is not installed.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise SetupError(f"{path}: a figure is written as one of {', '.join(SUFFIXES)}; give such a name")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise SetupError("figures need matplotlib: pip install matplotlib") from error

    figure = Figure(figsize=(11, 8.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(_title(check), fontsize=12)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_xlabel("t-SNE 1")
    axes.set_ylabel("t-SNE 2")
    axes.margins(0.08)
    _draw_classes(axes, check)
    _draw_suspicions(axes, check)
    axes.set_aspect("equal", adjustable="datalim")
    try:
        figure.savefig(path, dpi=120)
    except OSError as error:
        raise SetupError(f"{path}: cannot be written ({error.strerror or error}); give another place") from error


def _title(check: LabelCheck) -> str:
    parts = [f"{len(check.labels)} labelled molecules"]
    if check.agreement is not None:
        parts.append(f"nearest neighbours agree with {100 * check.agreement:.1f} % of the labels")
    if check.silhouette is not None:
        parts.append(f"silhouette {check.silhouette:.2f}")
    parts.append(f"{len(check.suspicious)} suspicious" if check.suspicious else "none suspicious")
    return ", ".join(parts)


def _draw_classes(axes: Any, check: LabelCheck) -> None:
    counts = Counter(check.labels)
    names = np.array(check.labels)
    few = len(check.labels) <= THUMBNAILS
    for number, label in enumerate(sorted(counts)):
        colour = COLOURS[number % len(COLOURS)]
        marker = MARKERS[number // len(COLOURS) % len(MARKERS)]
        points = check.embedding[names == label]
        axes.scatter(
            points[:, 0], points[:, 1], s=34, color=colour, marker=marker, label=f"{label} ({counts[label]})", zorder=1
        )
        if few:
            for crop, place in zip(check.upright[names == label], points, strict=True):
                _draw_thumbnail(axes, crop, place, colour)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), title="class", frameon=False)


def _draw_thumbnail(axes: Any, crop: NDArray[np.float32], place: NDArray[np.float32], colour: str) -> None:
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    # Two standard deviations to either side of a molecule's own mean.
    picture = OffsetImage(crop, zoom=26 / crop.shape[0], cmap="gray", clim=(-2.0, 2.0))
    frame = {"edgecolor": colour, "linewidth": 1.6, "boxstyle": "square,pad=0"}
    axes.add_artist(AnnotationBbox(picture, (float(place[0]), float(place[1])), bboxprops=frame, pad=0.0))


def _draw_suspicions(axes: Any, check: LabelCheck) -> None:
    for number, one in enumerate(check.suspicious, start=1):
        x, y = (float(value) for value in check.embedding[one.index])
        axes.plot([x], [y], marker="o", markersize=34, fillstyle="none", color="#e60000", markeredgewidth=1.5, zorder=5)
        axes.annotate(
            str(number), (x, y), (15, 15), textcoords="offset points", color="#e60000", fontweight="bold", zorder=6
        )
