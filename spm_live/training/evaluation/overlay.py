"""A picture with what is there and what was found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from spm_live.training.evaluation.matching import IGNORED, Judged, Kind, match_places
from spm_live.training.labelled import Ring

# Okabe and Ito's colours, which people with any colour vision tell apart (jfly.uni-koeln.de/color); RGB.
COLOURS: dict[str, tuple[int, int, int]] = {
    "right": (0, 158, 115),
    "wrong class": (230, 159, 0),
    "false": (240, 228, 66),
    "missed": (213, 94, 0),
    "truth": (86, 180, 233),
    "left out": (150, 150, 150),
}
SMALLEST_SIDE = 900
"""Pictures are enlarged by a whole factor until their longer side is about this long, so that lines lie apart."""
LEGEND_PX = 26
FONT = cv2.FONT_HERSHEY_SIMPLEX
TEXT_SIZE = 0.42
SUBPIXEL_BITS = 4
JPEG_QUALITY = 88


def verdicts(judged: Judged, min_score: float, kind: Kind, least: float = 0.5) -> tuple[list[str], NDArray[np.bool_]]:
    """Say of every detection what it is, and of every molecule whether it was missed.

    Parameters
    ----------
    judged : Judged
        A picture.
    min_score : float
        Detections under it are nothing: an empty word.
    kind : "box" or "mask"
        What overlap is measured on.
    least : float
        Overlap that counts as found.

    Returns
    -------
    words : list of N str
        ``"right"``, ``"wrong class"``, ``"false"``, ``"left out"`` (on something ignored) or empty.
    missed : (M,) bool array
    """
    words = []
    missed = np.ones(len(judged.true), dtype=np.bool_)
    for one, index in zip(judged.found, match_places(judged, kind, least, min_score).tolist(), strict=True):
        if one.score < min_score:
            words.append("")
        elif index == IGNORED:
            words.append("left out")
        elif index < 0:
            words.append("false")
        else:
            missed[index] = False
            words.append("right" if judged.true[index].label == one.label else "wrong class")
    return words, missed


def faults(judged: Judged, min_score: float, kind: Kind, least: float = 0.5) -> int:
    """How many molecules of a picture are missed, false or of the wrong class."""
    words, missed = verdicts(judged, min_score, kind, least)
    return words.count("false") + words.count("wrong class") + int(np.count_nonzero(missed))


def draw_overlay(judged: Judged, min_score: float, kind: Kind, least: float = 0.5) -> NDArray[np.uint8]:
    """Draw truth and detections over a picture.

    Parameters
    ----------
    judged : Judged
        A picture.
    min_score : float
        Detections under it are not drawn.
    kind : "box" or "mask"
        What overlap is measured on.
    least : float
        Overlap that counts as found.

    Returns
    -------
    (rows, columns, 3) uint8 array
        RGB, with a legend that counts above.
    """
    words, missed = verdicts(judged, min_score, kind, least)
    shape = judged.picture.image.shape
    factor = max(1, round(SMALLEST_SIDE / max(shape)))
    canvas = _grey(judged.picture.image, factor)
    for truth in (*judged.left_out_true, *judged.ignored):
        _draw(canvas, truth.rings, "left out", factor, 1)
    for prediction in judged.left_out_found:
        if prediction.score >= min_score:
            _draw(canvas, prediction.rings, "left out", factor, 1)
    for truth in judged.true:
        _draw(canvas, truth.rings, "truth", factor, 1)
    for word in ("left out", "right", "wrong class", "false"):
        for prediction, said in zip(judged.found, words, strict=True):
            if said == word:
                _draw(canvas, prediction.rings, word, factor, 2)
                if word in {"wrong class", "false"}:
                    _write(canvas, f"{prediction.label} {prediction.score:.2f}", prediction.box_px, word, factor)
    for truth, lost in zip(judged.true, missed.tolist(), strict=True):
        if lost:
            _draw(canvas, truth.rings, "missed", factor, 2)
            _write(canvas, truth.label, truth.box_px, "missed", factor)
    return np.concatenate([_legend(canvas.shape[1], words, missed, len(judged.true)), canvas])


def encode(picture: NDArray[np.uint8], suffix: Literal[".png", ".jpg"] = ".png") -> bytes:
    """An RGB picture as a PNG file, or as a JPEG, which a noisy picture makes a fifth as long."""
    way = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if suffix == ".jpg" else []
    done, data = cv2.imencode(suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), way)
    if not done:
        raise ValueError(f"a picture of shape {picture.shape} cannot become a {suffix} file")
    return bytes(data.tobytes())


def _grey(image: NDArray[np.float32], factor: int) -> NDArray[np.uint8]:
    """The picture enlarged, its contrast stretched; dull blue where not scanned."""
    scanned = np.isfinite(image)
    low, high = np.quantile(image[scanned], [0.002, 0.998]) if scanned.any() else (0.0, 1.0)
    # Not up to white, so that the lines stand out.
    grey = np.clip((np.nan_to_num(image) - low) / max(float(high - low), 1e-12), 0, 1) * 200
    canvas = np.repeat(grey.astype(np.uint8)[:, :, None], 3, axis=2)
    canvas[~scanned] = (60, 75, 100)
    size = (image.shape[1] * factor, image.shape[0] * factor)
    return np.asarray(cv2.resize(canvas, size, interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def _draw(canvas: NDArray[np.uint8], rings: Sequence[Ring], word: str, factor: int, width: int) -> None:
    fixed = [np.round((ring * factor - 0.5) * (1 << SUBPIXEL_BITS)).astype(np.int32) for ring in rings]
    cv2.polylines(canvas, fixed, True, COLOURS[word], width, cv2.LINE_AA, SUBPIXEL_BITS)


def _write(
    canvas: NDArray[np.uint8], text: str, box: tuple[float, float, float, float], word: str, factor: int
) -> None:
    length = cv2.getTextSize(text, FONT, TEXT_SIZE, 1)[0][0]
    place = (max(0, min(int(box[0] * factor), canvas.shape[1] - length)), max(10, int(box[1] * factor) - 3))
    # Dark behind light, so that it is read on any ground.
    _text(canvas, text, (place[0] + 1, place[1] + 1), (0, 0, 0), 1)
    _text(canvas, text, place, COLOURS[word], 1)


def _text(
    canvas: NDArray[np.uint8], text: str, place: tuple[int, int], colour: tuple[int, int, int], width: int
) -> None:
    # OpenCV draws ASCII alone.
    plain = text.encode("ascii", "replace").decode("ascii")
    cv2.putText(canvas, plain, place, FONT, TEXT_SIZE, colour, width, cv2.LINE_AA)


def _legend(width: int, words: Sequence[str], missed: NDArray[np.bool_], true: int) -> NDArray[np.uint8]:
    counts = {
        "truth": true,
        "right": words.count("right"),
        "wrong class": words.count("wrong class"),
        "false": words.count("false"),
        "missed": int(np.count_nonzero(missed)),
        "left out": None,
    }
    entries = [(word, word if count is None else f"{word} {count}") for word, count in counts.items()]
    lengths = [26 + cv2.getTextSize(text, FONT, TEXT_SIZE, 1)[0][0] for _, text in entries]
    rows = [0]
    place = [(0, 0)] * len(entries)
    x = 8
    for number, length in enumerate(lengths):
        if x + length > width and x > 8:
            rows.append(rows[-1] + 1)
            x = 8
        place[number] = (x, rows[-1])
        x += length
    legend = np.full((LEGEND_PX * len(rows), width, 3), 30, dtype=np.uint8)
    for (word, text), (left, row) in zip(entries, place, strict=True):
        middle = row * LEGEND_PX + LEGEND_PX // 2
        cv2.rectangle(legend, (left, middle - 4), (left + 10, middle + 4), COLOURS[word], -1)
        _text(legend, text, (left + 14, middle + 4), (230, 230, 230), 1)
    return legend
