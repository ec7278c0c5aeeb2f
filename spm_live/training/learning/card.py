"""The card of a trained model, written from what was done and measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from spm_live.detect.manifest import Manifest
from spm_live.training.labelled import LabelledPicture
from spm_live.training.learning.progress import show_time
from spm_live.training.learning.settings import TrainingSettings

FEW = 200
"""Molecules of one class; with fewer the card warns."""


@dataclass(frozen=True, slots=True)
class Made:
    """How a model came to be.

    Parameters
    ----------
    training, validation : tuple of LabelledPicture
        What was learnt from, and judged on.
    steps, best_step : int
        Steps done, and those after which the weights were taken.
    ending : str
        Why training ended.
    seconds : float
        Time it took.
    machine, versions : str
        On what and with what.
    notes : tuple of str
        Of the checks before training, and of the data set.
    metrics : mapping of str to float
        On the validation pictures.
    """

    training: tuple[LabelledPicture, ...]
    validation: tuple[LabelledPicture, ...]
    steps: int
    best_step: int
    ending: str
    seconds: float
    machine: str
    versions: str
    notes: tuple[str, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)


def trained_on(settings: TrainingSettings, made: Made) -> str:
    """One line about the data, for the manifest."""
    parts = []
    if made.training and settings.drawn_share < 1:
        counts = _counts(made.training)
        told = ", ".join(f"{count} of {label}" for label, count in sorted(counts.items()))
        names = ", ".join(one.name for one in made.training[:5]) + (", ..." if len(made.training) > 5 else "")
        parts.append(f"{counts.total()} labelled molecules ({told}) in {many(len(made.training), 'picture')}: {names}")
    if not made.training or settings.drawn_share > 0:
        share = 1.0 if not made.training else settings.drawn_share
        parts.append(f"drawn scans ({share:.0%} of the training pictures)")
    if settings.start_from is not None:
        parts.append(f"starting from {settings.start_from.name}")
    return "; ".join(parts)


def render_card(manifest: Manifest, settings: TrainingSettings, made: Made) -> str:
    """Write the card.

    Parameters
    ----------
    manifest : Manifest
        Finished.
    settings : TrainingSettings
    made : Made
        How the model came to be.

    Returns
    -------
    str
        Markdown.
    """
    shown = manifest.input
    pitch = "in its own pixels" if shown.nm_per_px is None else f"at {shown.nm_per_px:g} nm a pixel"
    purpose = f"{settings.purpose}\n\n" if settings.purpose else ""
    network = manifest.network or {}
    weights = manifest.training_weights
    kept = f" To train on: `{weights.file}`, sha256 `{weights.sha256}`." if weights else ""
    return f"""# {manifest.name}, version {manifest.version}

{purpose}Finds molecules of the classes {", ".join(manifest.classes)} by Mask R-CNN (backbone
{network.get("backbone", "unknown")}). This card was written by `spm-live train`.

**Licence**: {manifest.license}. **Weights**: `{manifest.weights}`, sha256 `{manifest.sha256}`.{kept}

## What it wants to be shown
Every frame {pitch}, in tiles of {shown.rows} x {shown.columns} px that overlap by {shown.overlap_px} px, levelled by
`{shown.levelling.value}`, contrast from quantile {shown.contrast[0]} to {shown.contrast[1]}. At most
{manifest.max_detections} molecules in a tile.

## How it was made
Data: {manifest.trained_on}.

    {manifest.command or "(called from a program)"}

{made.steps} steps of {settings.batch} pictures of {settings.rows} x {settings.columns} px, seed {settings.seed};
weights of step {made.best_step}{", averaged" if settings.average else ""}.
Training {_ENDINGS.get(made.ending, made.ending)}. It took {show_time(made.seconds)} on {made.machine}. {made.versions}.

## How good it is
{_measured(manifest, settings, made)}

## What it is not good for
{_limits(settings, made)}
"""


_ENDINGS = {
    "finished": "ran to its end",
    "no gain": "ended when nothing got better any more",
    "asked": "was ended by hand before its end",
}


def _measured(manifest: Manifest, settings: TrainingSettings, made: Made) -> str:
    if not made.metrics:
        return "Not measured: nothing was set apart. `spm-live evaluate` measures it on labelled pictures."
    counts = _counts(made.validation)
    told = ", ".join(f"{count} of {label}" for label, count in sorted(counts.items()))
    kind = "drawn picture" if settings.validation.kind == "drawn" else "picture"
    part = "" if settings.validation.kind == "drawn" else " (whole, or a part of one)"
    lines = ["| | |", "|---|---|", *(f"| {name} | {value:.3f} |" for name, value in sorted(made.metrics.items()))]
    table = "\n".join(lines)
    return f"""On {counts.total()} molecules ({told}) in {many(len(made.validation), kind)}{part}, not trained
on. The best weights and the score threshold were chosen on the same, so these figures flatter; `spm-live evaluate` on
other pictures tells more. Counts at a score of {manifest.min_score:.3f}; molecules marked to be ignored, and those cut
by the line between training and validation, are not asked for.

{table}"""


def _limits(settings: TrainingSettings, made: Made) -> str:
    lines = [
        "Molecules, surfaces and tips unlike those it learnt from: look at the outlines before you trust the counts."
    ]
    if not made.training or settings.drawn_share >= 1:
        lines.append("Publication without a look: no real picture was learnt from.")
    few = [f"{label} ({count})" for label, count in sorted(_counts(made.training).items()) if count < FEW]
    if few and settings.drawn_share < 1:
        lines.append(f"Rare shapes and arrangements: few molecules were labelled: {', '.join(few)}.")
    if len({one.name for one in made.training}) == 1:
        lines.append("Other samples and sessions: everything was learnt from one picture.")
    if settings.shown.nm_per_px is None:
        lines.append("Frames at another pitch than the pictures it learnt from, beyond the scales that were tried.")
    lines.append("Scores as probabilities: they were not calibrated.")
    lines += [f"Told before training: {note}" for note in made.notes]
    return "\n".join(f"- {line}" for line in lines)


def many(count: int, noun: str) -> str:
    """A number of things.

    Examples
    --------
    >>> many(1, "picture"), many(2, "picture")
    ('1 picture', '2 pictures')
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _counts(pictures: Sequence[LabelledPicture]) -> Counter[str]:
    return Counter(one.label for picture in pictures for one in picture.molecules if not one.ignore)
