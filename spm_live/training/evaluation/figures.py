"""Figures of an evaluation, by matplotlib, without its global state."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from spm_live.errors import SetupError
from spm_live.training.evaluation.measured import ALL, Evaluation

FORMATS = ("png", "svg")
DPI = 110
# Okabe and Ito's colours, which people with any colour vision tell apart.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
MOST_NAMED = 30
"""A table of more classes has no numbers in its cells."""


def draw_figures(evaluation: Evaluation) -> dict[str, Any]:
    """Draw every figure that the evaluation has numbers for.

    Parameters
    ----------
    evaluation : Evaluation
        What was measured.

    Returns
    -------
    dict of str to matplotlib.figure.Figure
        ``precision_recall``, ``recall_iou``, ``confusion``, ``counts``, ``suppression``, and where studied
        ``resolution`` and ``robustness``.

    Raises
    ------
    SetupError
        If matplotlib is not installed.
    """
    try:
        make: Any = importlib.import_module("matplotlib.figure").Figure
    except ImportError as error:
        raise SetupError(
            f'figures need matplotlib, which cannot be loaded ({error}); install it with: pip install "spm-live[train]"'
        ) from error
    drawings: dict[str, tuple[Callable[[Any, Evaluation], None], tuple[float, float]]] = {
        "precision_recall": (_precision_recall, (5.2, 4.2)),
        "recall_iou": (_recall_iou, (5.2, 4.2)),
        "confusion": (_confusion, (5.2, 4.4)),
        "counts": (_counts, (5.2, 4.0)),
        "suppression": (_suppression, (5.2, 4.0)),
    }
    if evaluation.resolution:
        drawings["resolution"] = (_resolution, (5.2, 4.2))
    if evaluation.robustness:
        drawings["robustness"] = (_robustness, (12.0, 5.4))
    figures = {}
    for name, (draw, size) in drawings.items():
        figures[name] = make(figsize=size, layout="constrained")
        draw(figures[name], evaluation)
    return figures


def save_figures(figures: Mapping[str, Any], folder: Path) -> dict[str, Path]:
    """Write figures as PNG and SVG.

    Parameters
    ----------
    figures : mapping of str to matplotlib.figure.Figure
        From :func:`draw_figures`.
    folder : Path
        Made where it is missing.

    Returns
    -------
    dict of str to Path
        File names as ``<figure>.png`` and ``<figure>.svg``. The same evaluation gives the same bytes.
    """
    matplotlib: Any = importlib.import_module("matplotlib")
    folder.mkdir(parents=True, exist_ok=True)
    written = {}
    with matplotlib.rc_context({"svg.hashsalt": "spm-live"}):
        for name, figure in figures.items():
            for suffix in FORMATS:
                path = folder / f"{name}.{suffix}"
                figure.savefig(path, dpi=DPI, metadata={"Date": None} if suffix == "svg" else {"Software": None})
                written[path.name] = path
    return written


def _named(evaluation: Evaluation) -> list[tuple[str, str, str]]:
    """Key, name and colour of each line: all classes together, then each, unless there is only one."""
    classes = evaluation.classes if len(evaluation.classes) > 1 else ()
    lines = [(ALL, "all classes" if classes else evaluation.classes[0], "#000000")]
    return lines + [(label, label, PALETTE[number % 7]) for number, label in enumerate(classes)]


def _unit(axes: Any, x: str, y: str) -> None:
    axes.set(xlabel=x, ylabel=y, ylim=(-0.02, 1.03))
    axes.grid(alpha=0.3)


def _precision_recall(figure: Any, evaluation: Evaluation) -> None:
    axes = figure.add_subplot()
    for key, name, colour in _named(evaluation):
        curve = evaluation.precision_recall[key]
        axes.plot(curve.recall, curve.precision, color=colour, label=name, drawstyle="steps-pre")
    whole = evaluation.rates[ALL]
    axes.plot(whole.recall, whole.precision, "o", color="#000000", label=f"score {evaluation.min_score:.2f}")
    settings = evaluation.settings
    _unit(axes, "recall", "precision")
    axes.set(xlim=(-0.02, 1.03), title=f"precision and recall, {settings.overlap} IoU {settings.least_iou:g}")
    axes.legend(loc="lower left")


def _recall_iou(figure: Any, evaluation: Evaluation) -> None:
    axes = figure.add_subplot()
    for key, name, colour in _named(evaluation):
        curve = evaluation.recall_iou[key]
        axes.plot(curve.ious, curve.recall, color=colour, label=f"{name}: AR {_three(curve.average_recall)}")
    _unit(axes, f"{evaluation.settings.overlap} IoU", "recall")
    axes.set(title=f"recall at score {evaluation.min_score:.2f}")
    axes.legend(loc="lower left")


def _confusion(figure: Any, evaluation: Evaluation) -> None:
    axes = figure.add_subplot()
    matrix = evaluation.confusion.matrix
    # Shares of the molecules of a class; below, of all detections.
    wholes = np.append(matrix[:-1].sum(axis=1), matrix[:, :-1].sum())
    shares = matrix / np.maximum(wholes, 1)[:, None]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    places = range(len(matrix))
    turn = {"rotation": 45, "ha": "right"} if len(matrix) > 4 else {}
    axes.set_xticks(places, [*evaluation.classes, "missed"], **turn)
    axes.set_yticks(places, [*evaluation.classes, "nothing there"])
    axes.set(xlabel="found as", ylabel="truth", title=f"confusion of classes: {_percent(evaluation.confusion.rate)}")
    if len(matrix) <= MOST_NAMED:
        for row in places:
            for column in places:
                if row != len(matrix) - 1 or column != len(matrix) - 1:
                    dark = shares[row, column] > 0.5
                    axes.text(
                        column, row, str(matrix[row, column]), ha="center", va="center", color="w" if dark else "k"
                    )


def _counts(figure: Any, evaluation: Evaluation) -> None:
    axes = figure.add_subplot()
    lines = _named(evaluation)
    places = np.arange(len(lines))
    for shift, colour, name, field in ((-0.2, "#999999", "truth", "true"), (0.2, "#0072B2", "found", "found")):
        values = [getattr(evaluation.counts[key], field) for key, _, _ in lines]
        axes.bar_label(axes.bar(places + shift, values, 0.4, color=colour, label=name))
    errors = [f"{name}\n{_percent(evaluation.counts[key].error)}" for key, name, _ in lines]
    axes.set_xticks(places, errors)
    axes.set(ylabel="molecules", title=f"counts and count error, score {evaluation.min_score:.2f}")
    axes.margins(y=0.15)
    axes.legend()


def _suppression(figure: Any, evaluation: Evaluation) -> None:
    axes = figure.add_subplot()
    effect = evaluation.suppression
    axes.plot(effect.thresholds, effect.by_class_rates, color="#D55E00", label="within each class")
    axes.plot(effect.thresholds, effect.across_rates, "--", color="#0072B2", label="across classes")
    axes.axvline(evaluation.min_score, color="#999999", linewidth=1, label="the model's threshold")
    axes.set(
        xlabel="score threshold",
        ylabel="false detections / detections",
        title=f"false detections; rivals removed across classes: {effect.rivals}",
    )
    axes.set_ylim(bottom=0)
    axes.margins(y=0.15)
    axes.grid(alpha=0.3)
    axes.legend()


def _resolution(figure: Any, evaluation: Evaluation) -> None:
    axes = figure.add_subplot()
    points = sorted(evaluation.resolution, key=lambda point: point.px_per_molecule)
    x = [point.px_per_molecule for point in points]
    for key, name, colour in _named(evaluation):
        y = [point.recognition.classes[key] if key else point.recognition.recognition_rate for point in points]
        axes.plot(x, y, "o-", color=colour, label=name, linewidth=2 if not key else 1)
    _unit(axes, "pixels per molecule", "recognition rate")
    axes.set(title="recognition and resolution", xlim=(0, None))
    axes.legend(loc="lower right")


def _robustness(figure: Any, evaluation: Evaluation) -> None:
    noises = list(dict.fromkeys((point.noise, point.unit) for point in evaluation.robustness))
    columns = min(5, len(noises))
    rows = -(-len(noises) // columns)
    calm = evaluation.rates[ALL].recognition_rate
    for number, (noise, unit) in enumerate(noises):
        axes = figure.add_subplot(rows, columns, number + 1)
        points = [point for point in evaluation.robustness if point.noise == noise]
        x = [point.level for point in points]
        for name, colour in (("recognition_rate", "#0072B2"), ("precision", "#D55E00")):
            y = [getattr(point.recognition, name) for point in points]
            axes.plot(x, y, "o-", color=colour, label=name.replace("_", " "))
        axes.axhline(calm, color="#999999", linewidth=1, linestyle=":")
        _unit(axes, unit, "")
        axes.set(title=noise)
        if number == 0:
            axes.legend(loc="lower left", fontsize="small")


def _three(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.3f}"


def _percent(value: float) -> str:
    return "–" if np.isnan(value) else f"{100 * value:.1f} %"
