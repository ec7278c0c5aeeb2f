"""The report of an evaluation: one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from spm_live.training.evaluation.coco_ap import ApScores
from spm_live.training.evaluation.measured import ALL, Evaluation
from spm_live.training.evaluation.numbers import headline

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #1a1a1a; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; border-bottom: 1px solid #ccc; }
table { border-collapse: collapse; margin: .6rem 0; } th, td { padding: .2rem .8rem .2rem 0; text-align: right; }
th:first-child, td:first-child { text-align: left; } thead th { border-bottom: 1px solid #888; font-weight: 600; }
img { max-width: 100%; height: auto; } .figures { display: flex; flex-wrap: wrap; gap: 1rem; }
.figures img { flex: 0 1 calc(50% - 1rem); min-width: 18rem; align-self: flex-start; }
.note { color: #555; max-width: 50rem; } code { background: #f2f2f2; padding: 0 .2rem; }
"""


def render_report(evaluation: Evaluation, figures: Mapping[str, bytes], overlays: Mapping[str, bytes]) -> str:
    """Write the report.

    Parameters
    ----------
    evaluation : Evaluation
        What was measured.
    figures : mapping of str to bytes
        PNG files by the name of the figure.
    overlays : mapping of str to bytes
        JPEG files by the name of the picture.

    Returns
    -------
    str
        HTML with every picture inside, and no address of anything outside.
    """
    model = evaluation.manifest
    title = f"{model.name} {model.version}: evaluation"
    parts = [
        f"<h1>{escape(title)}</h1>",
        _about(evaluation),
        "<h2>At a glance</h2>",
        _table(("measure", "value"), [(name, _number(value)) for name, value in headline(evaluation).items()]),
        "<h2>Average precision</h2>",
        _precision_table(evaluation),
        "<h2>Molecules found, counted, named</h2>",
        _class_table(evaluation),
        _figures(figures, ("precision_recall", "recall_iou", "confusion", "counts")),
        "<h2>Suppression across classes</h2>",
        _suppression_note(evaluation),
        _figures(figures, ("suppression",)),
    ]
    if evaluation.resolution:
        parts += ["<h2>Resolution</h2>", _resolution_table(evaluation), _figures(figures, ("resolution",))]
    if evaluation.robustness:
        parts += ["<h2>Robustness</h2>", _image(figures["robustness"], "robustness"), _robustness_table(evaluation)]
    if overlays:
        parts.append("<h2>Pictures</h2>")
        parts += [f"<h3>{escape(name)}</h3>{_image(data, name, 'jpeg')}" for name, data in overlays.items()]
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style></head><body>\n{body}\n</body></html>\n"
    )


def _about(evaluation: Evaluation) -> str:
    results, settings = evaluation.results, evaluation.settings
    asked = sum(len(judged.true) for judged in results)
    left_out = sum(len(judged.left_out_true) for judged in results)
    torn = sum(judged.torn for judged in results)
    text = (
        f"Pictures: {len(results)}; molecules asked for: {asked}, left out: {left_out}. "
        f"Score threshold {evaluation.min_score:.3f}; found means {settings.overlap} IoU of at least "
        f"{settings.least_iou:g}. Each molecule is found once."
    )
    if torn:
        text += f" Pairs of a molecule and its detection torn by what is left out, so that only one is judged: {torn}."
    sha = evaluation.manifest.sha256
    return f'<p class="note">{escape(text)}<br>Weights <code>{escape(sha[:16])}</code></p>'


def _precision_table(evaluation: Evaluation) -> str:
    def row(name: str, box: ApScores, mask: ApScores) -> list[str]:
        return [name, *(_number(value) for one in (box, mask) for value in (one.ap, one.ap50, one.ap75, one.ar))]

    rows = [row("mean over classes", evaluation.box.overall, evaluation.mask.overall)]
    rows += [row(label, evaluation.box.classes[label], evaluation.mask.classes[label]) for label in evaluation.classes]
    heads = ["class", *(f"{kind} {name}" for kind in ("box", "mask") for name in ("AP", "AP50", "AP75", "AR"))]
    return _table(heads, rows)


def _class_table(evaluation: Evaluation) -> str:
    heads = ("class", "molecules", "found", "precision", "recall", "recognition", "AR", "count error")
    rows = []
    for name in (ALL, *evaluation.classes):
        one, count = evaluation.rates[name], evaluation.counts[name]
        rows.append(
            (
                name or "all",
                str(one.true),
                str(one.found),
                _number(one.precision),
                _number(one.recall),
                _number(one.recognition_rate),
                _number(evaluation.recall_iou[name].average_recall),
                _number(count.error),
            )
        )
    return _table(heads, rows)


def _suppression_note(evaluation: Evaluation) -> str:
    effect = evaluation.suppression
    text = (
        f"At the model's threshold {effect.by_class.false} of {effect.by_class.found} detections are false "
        f"({_number(effect.by_class.rate)}) if each class is suppressed by itself, {effect.across.false} of "
        f"{effect.across.found} ({_number(effect.across.rate)}) across classes. Across classes {effect.rivals} "
        "more are removed, at any score."
    )
    if not effect.rivals:
        text += " The network may have done so in its graph: export it with cross_nms_iou 1 to see the effect."
    return f'<p class="note">{escape(text)}</p>'


def _resolution_table(evaluation: Evaluation) -> str:
    heads = ("scale", "px per molecule", "recognition", "precision", "count error", *evaluation.classes)
    rows = [
        (
            f"{point.scale:.3f}",
            f"{point.px_per_molecule:.1f}",
            *(
                _number(value)
                for value in (
                    point.recognition.recognition_rate,
                    point.recognition.precision,
                    point.recognition.count_error,
                    *point.recognition.classes.values(),
                )
            ),
        )
        for point in evaluation.resolution
    ]
    return _table(heads, rows)


def _robustness_table(evaluation: Evaluation) -> str:
    heads = ("noise", "level", "of", "recognition", "precision", "count error")
    rows = [
        (
            point.noise,
            f"{point.level:g}",
            point.unit,
            _number(point.recognition.recognition_rate),
            _number(point.recognition.precision),
            _number(point.recognition.count_error),
        )
        for point in evaluation.robustness
    ]
    return _table(heads, rows)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _figures(figures: Mapping[str, bytes], names: Iterable[str]) -> str:
    return (
        '<div class="figures">' + "".join(_image(figures[name], name) for name in names if name in figures) + "</div>"
    )


def _image(data: bytes, name: str, kind: str = "png") -> str:
    return f'<img alt="{escape(name)}" src="data:image/{kind};base64,{base64.b64encode(data).decode("ascii")}">'


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"
