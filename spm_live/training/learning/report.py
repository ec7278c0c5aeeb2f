"""The report of a run: one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from html import escape

from spm_live.detect.manifest import Manifest
from spm_live.training.learning.card import Made
from spm_live.training.learning.curves import Points, draw_curves
from spm_live.training.learning.progress import show_time
from spm_live.training.learning.run_log import Row
from spm_live.training.learning.settings import TrainingSettings

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #1a1a1a; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; border-bottom: 1px solid #ccc; }
table { border-collapse: collapse; } td { padding: .15rem 1rem .15rem 0; vertical-align: top; }
img, svg { max-width: 100%; height: auto; } pre { white-space: pre-wrap; background: #f4f4f4; padding: .6rem; }
.note { color: #555; }
"""


def render_report(
    manifest: Manifest,
    settings: TrainingSettings,
    made: Made,
    rows: Sequence[Row],
    looks: Sequence[Row],
    pictures: Mapping[str, bytes],
) -> str:
    """Write the report.

    Parameters
    ----------
    manifest : Manifest
        Of the model.
    settings : TrainingSettings
    made : Made
        How it came to be.
    rows, looks : sequence of mapping
        The log.
    pictures : mapping of str to bytes
        JPEG files with truth and detections, by name.

    Returns
    -------
    str
        HTML with every picture inside, and no address of anything outside.
    """
    title = f"{manifest.name} {manifest.version}: training"
    ended = f"{made.steps} of {settings.steps} steps in {show_time(made.seconds)}; weights of step {made.best_step}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="note">{escape(ended)}. {escape(made.machine)}. {escape(made.versions)}.</p>',
        f"<pre>{escape(manifest.command)}</pre>" if manifest.command else "",
        "<h2>What was measured</h2>",
        _table({name: _number(value) for name, value in sorted(made.metrics.items())})
        or "<p>Nothing was set apart.</p>",
        "<h2>Losses</h2>",
        draw_curves(_losses(rows, looks), label="losses, logarithmic", logarithmic=True)
        or "<p>No step was logged.</p>",
    ]
    if looks:
        names = ("box_ap50", "box_ap", "mask_ap50", "mask_ap", "count_error")
        parts += [
            "<h2>Validation</h2>",
            draw_curves({name: _points(looks, name) for name in names}, label="validation"),
        ]
    parts += ["<h2>Learning rate</h2>", draw_curves({"rate": _points(rows, "rate")}, label="learning rate")]
    if pictures:
        about = "set apart for validation" if made.validation else "trained on: they say nothing about new ones"
        parts.append(f"<h2>Pictures</h2><p class='note'>Pictures {about}, with truth and detections.</p>")
        parts += [f"<h3>{escape(name)}</h3>{_image(data, name)}" for name, data in pictures.items()]
    if made.notes:
        notes = "".join(f"<li>{escape(note)}</li>" for note in made.notes)
        parts.append(f"<h2>Told before training</h2><ul>{notes}</ul>")
    values = settings.model_dump(mode="json")
    parts += ["<h2>Settings</h2>", _table({name: json.dumps(value) for name, value in values.items()})]
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style></head><body>\n{body}\n</body></html>\n"
    )


def _losses(rows: Sequence[Row], looks: Sequence[Row]) -> dict[str, Points]:
    names = [name for name in (rows[-1] if rows else {}) if name not in {"step", "rate", "steps_per_s"}]
    curves: dict[str, Points] = {name: _points(rows, name) for name in names}
    if looks:
        curves["loss (validation)"] = _points(looks, "loss")
    return curves


def _points(rows: Sequence[Row], name: str) -> Points:
    return [(row["step"], row[name]) for row in rows if name in row]


def _table(values: Mapping[str, str]) -> str:
    lines = "".join(f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in values.items())
    return f"<table>{lines}</table>" if lines else ""


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.4f}"


def _image(data: bytes, name: str) -> str:
    return f'<img alt="{escape(name)}" src="data:image/jpeg;base64,{base64.b64encode(data).decode("ascii")}">'
