"""Tracks of molecules and drifts of a whole series, out of a store, as tables."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spm_live.errors import SetupError
from spm_live.publish.exporters.files import whole_text
from spm_live.publish.store import Store
from spm_live.series.frames import SeriesFrame
from spm_live.series.links import FrameLinks
from spm_live.series.memory import remember
from spm_live.series.message import links_message, series_frame
from spm_live.series.place import frame_before
from spm_live.series.step import follow

LOOK_BACK = 100
"""Frames before one among which the frame before of its place is looked for."""
KEPT = 8
"""Frames kept with their tracks: those that the next ones can follow, where a series goes over several places."""

MOLECULE_COLUMNS = (
    *("track", "frame_id", "frame", "started", "number", "kind", "label", "center_x_nm", "center_y_nm"),
    *("moved_x_nm", "moved_y_nm", "turned_deg", "area_nm2", "length_nm", "width_nm", "orientation_deg"),
)
DRIFT_COLUMNS = (
    *("frame_id", "frame", "started", "previous_id", "minutes", "drift_x_nm", "drift_y_nm", "drift_x_nm_per_min"),
    *("drift_y_nm_per_min", "slope_x", "slope_y", "method", "agreement"),
    *("stayed", "moved", "turned", "appeared", "vanished"),
)


@dataclass(frozen=True, slots=True)
class TrackedFrame:
    """What became of the molecules of one frame, as rows of tables.

    Parameters
    ----------
    drift : dict
        One row, :data:`DRIFT_COLUMNS`.
    molecules : tuple of dict
        A row for each molecule of the frame and for each that vanished since the one before,
        :data:`MOLECULE_COLUMNS`. ``kind`` is empty where there is nothing to tell: in the first frame of a place, near
        the border, and where the detector found or missed one that the pictures show alike.
    """

    drift: dict[str, Any]
    molecules: tuple[dict[str, Any], ...]


def track_frames(store: Path, ids: Sequence[int] | None = None, last: int | None = None) -> Iterator[TrackedFrame]:
    """Work out the tracks of a series anew, whatever the daemon found; the store is only read.

    Parameters
    ----------
    store : Path
        The SQLite file; a daemon may be using it.
    ids : sequence of int or None
        These frames only; None takes all.
    last : int or None
        Only the newest so many of them; None takes all.

    Returns
    -------
    iterator of TrackedFrame
        Oldest first.

    Raises
    ------
    SetupError
        If the store cannot be read, or has no frame of that number.
    """
    with Store(store, read_only=True) as opened:
        numbers = _chosen(opened, ids, last)
        kept: dict[int, SeriesFrame] = {}
        for number in numbers:
            message = opened.frame_in_series(number)
            if message is None:
                raise SetupError(f"store {store}: has no frame {number}")
            current = series_frame(message, opened.preview(number))
            earlier = (one for one in opened.earlier_frames(number, LOOK_BACK) if one["id"] in kept)
            before = frame_before(message, earlier)
            links = FrameLinks(number)
            past: dict[str, Any] | None = None
            if before is not None:
                previous = kept[before["id"]]
                links = follow(previous, current)
                current = remember(previous, current, links)
                past = opened.frame_in_series(before["id"])
            kept[number] = current
            while len(kept) > KEPT:
                kept.pop(next(iter(kept)))
            yield _rows(message, past, current, links)


def track_table(store: Path, out: Path, ids: Sequence[int] | None = None, last: int | None = None) -> tuple[int, Path]:
    """Write the tracks of a series as comma-separated values, and its drifts into a second file beside it.

    Parameters
    ----------
    store, ids, last
        As for :func:`track_frames`.
    out : Path
        File of the molecules; that of the drifts is called ``<name>-drifts.csv``. Both appear whole or not at all.

    Returns
    -------
    int
        How many frames.
    Path
        File of the drifts.

    Raises
    ------
    SetupError
        As :func:`track_frames`, or if the files cannot be written.
    """
    drifts = out.with_name(f"{out.stem}-drifts.csv")
    done = 0
    try:
        with whole_text(out) as tracks_file, whole_text(drifts) as drifts_file:
            tracks = csv.DictWriter(tracks_file, MOLECULE_COLUMNS)
            table = csv.DictWriter(drifts_file, DRIFT_COLUMNS)
            tracks.writeheader()
            table.writeheader()
            for frame in track_frames(store, ids, last):
                tracks.writerows(frame.molecules)
                table.writerow(frame.drift)
                done += 1
    except OSError as error:
        raise SetupError(f"{error.filename or out}: cannot be written ({error.strerror or error})") from error
    return done, drifts


def _chosen(store: Store, ids: Sequence[int] | None, last: int | None) -> list[int]:
    if ids is None:
        numbers = [frame["id"] for frame in store.frames(last if last is not None else store.totals()["frames"])]
    else:
        numbers = sorted(set(ids), reverse=True)[:last]
    return numbers[::-1]


def _rows(
    message: dict[str, Any], past: dict[str, Any] | None, current: SeriesFrame, links: FrameLinks
) -> TrackedFrame:
    told = links_message(links)
    head = {"frame_id": message["id"], "frame": message["name"], "started": message["started"]}
    linked = {link["molecule"]: link for link in told["links"] if link["molecule"] is not None}
    rows = [
        {
            **head,
            "track": int(current.molecules.tracks[place]),
            "number": place + 1,
            **_fate(linked.get(place)),
            **_molecule(molecule),
        }
        for place, molecule in enumerate(message["molecules"])
    ]
    gone = [link for link in told["links"] if link["kind"] == "vanished"] if past is not None else []
    for link in gone:
        was = past["molecules"][link["before"]] if past is not None else {}
        rows.append({**head, "track": link["track"], "kind": "vanished", **_molecule(was)})
    return TrackedFrame({**head, **_drift(told)}, tuple(rows))


def _fate(link: dict[str, Any] | None) -> dict[str, Any]:
    if link is None:
        return {"kind": ""}
    x, y = link["moved_nm"] or (None, None)
    return {"kind": link["kind"], "moved_x_nm": x, "moved_y_nm": y, "turned_deg": link["turned_deg"]}


def _molecule(molecule: dict[str, Any]) -> dict[str, Any]:
    x, y = molecule["center_nm"]
    names = ("label", "area_nm2", "length_nm", "width_nm", "orientation_deg")
    return {"center_x_nm": x, "center_y_nm": y, **{name: molecule[name] for name in names}}


def _drift(told: dict[str, Any]) -> dict[str, Any]:
    row = {"previous_id": told["previous"], **{name: told[name] for name in ("minutes", "method", "agreement")}}
    for name, pair in (
        ("drift_{}_nm", told["drift_nm"]),
        ("drift_{}_nm_per_min", told["drift_nm_per_min"]),
        ("slope_{}", told["slope"]),
    ):
        row |= {name.format(axis): value for axis, value in zip("xy", pair or (None, None), strict=True)}
    return {**row, **told["counts"]}
