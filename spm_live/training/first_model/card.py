"""The card of the first model, written from what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def card(manifest: Mapping[str, Any], scans: int, versions: str, note: str = "") -> str:
    """Write the card.

    Parameters
    ----------
    manifest : mapping
        The finished manifest.
    scans : int
        Scans of each kind that were measured on.
    versions : str
        Packages and versions that it was trained and measured with.
    note : str
        A sentence about the run.

    Returns
    -------
    str
        Markdown.
    """
    shown = manifest["input"]
    return f"""# {manifest["name"]}, version {manifest["version"]}

Finds drawn molecules of three kinds - {", ".join(manifest["classes"])} - so that `spm-live demo` and the tests
work with real detections before a model has been trained on real pictures. It is small on purpose and will be
replaced.

**Licence**: {manifest["license"]}. **Weights**: `{manifest["weights"]}`, float32, sha256 `{manifest["sha256"]}`.

## What it wants to be shown
{shown["nm_per_px"]} nm a pixel, tiles of {shown["rows"]} x {shown["columns"]} px that overlap by
{shown["overlap_px"]} px, levelled by `{shown["levelling"]}`, contrast from quantile {shown["contrast"][0]} to
{shown["contrast"][1]}. Molecules up to {shown["overlap_px"] * shown["nm_per_px"]:.1f} nm are found across tiles.
At most {manifest["max_detections"]} in a tile.

## How it was made
Trained on {manifest["trained_on"]}; every window was prepared by the code
that prepares real frames. No real picture was seen. The network is described in
`spm_live/training/network.py` and in `docs/adr/0006-first-model.md`.

    {manifest["command"]}

{versions}.
One seed draws the same scans; weights trained anew differ a little, as sums run in another order. {note}

## How good it is
On {scans} scans of each kind that were not trained on, through the whole pipeline, each true molecule matched once.
*varied*: of the kind trained on, another sample, tip, size and pitch each; *instrument*: as `spm-live-simulate` makes
them.
Precision, recall, mask overlap and counts at a score of {manifest["min_score"]}, chosen on {scans} further scans.
Molecules of which the border leaves less than a fifth are not asked for.

{_table(manifest)}

`count_error`: how far the counts of the frames are off, over the true counts.

## What it is not for
- Any real molecule, unless it looks like one of the drawn ones: it knows three shapes, 1.0 to 2.8 nm wide.
- Telling a three-lobed molecule from a four-lobed one once the tip has melted the lobes together.
- Close-packed layers of molecules that touch, moire patterns, atomic lattices, constant-height pictures: expect false
  detections there.
- Publication. Its scores were not calibrated and its errors not measured on real pictures.
"""


def _table(manifest: Mapping[str, Any]) -> str:
    metrics: Mapping[str, float] = manifest["metrics"]
    names = sorted({name.split("_", 1)[1] for name in metrics})
    lines = ["| | varied | instrument |", "|---|---|---|"]
    for name in names:
        values = " | ".join(f"{metrics[f'{kind}_{name}']:.3f}" for kind in ("varied", "instrument"))
        lines.append(f"| {name} | {values} |")
    return "\n".join(lines)
