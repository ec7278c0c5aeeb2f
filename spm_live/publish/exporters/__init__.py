"""Results out of the store, in the formats of other programs."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from spm_live.errors import SetupError
from spm_live.publish.history import History

KINDS = ("csv", "parquet", "coco", "labelme", "png")
"""What :func:`export` can write."""


def export(
    store: History, kind: str, out: Path, *, since: datetime | None = None, until: datetime | None = None
) -> int:
    """Write the frames of a store, oldest first, without those that a later state superseded.

    Parameters
    ----------
    store : History
        An open store; read-only will do.
    kind : str
        ``"csv"`` and ``"parquet"``: tables of frames, molecules and counts. ``"coco"``: one data set.
        ``"labelme"``: a JSON file and a picture a frame. ``"png"``: an annotated picture a frame.
    out : Path
        Folder, made if it is not there. Every file appears in it whole or not at all.
    since, until : datetime or None
        From (included) and to (not included) when the scan began; timezone-aware.

    Returns
    -------
    int
        How many frames.

    Raises
    ------
    SetupError
        If there is no such kind, a package for it is missing, or the folder cannot be written.
    StoreError
        If the store cannot be read.
    """
    frames = store.iter_frames(since, until)
    try:
        match kind:
            case "csv":
                from spm_live.publish.exporters.csv import export_csv

                return export_csv(frames, out)
            case "parquet":
                from spm_live.publish.exporters.parquet import export_parquet

                return export_parquet(frames, out)
            case "coco":
                from spm_live.publish.exporters.coco import export_coco

                return export_coco(frames, store.preview, out)
            case "labelme":
                from spm_live.publish.exporters.labelme import export_labelme

                return export_labelme(frames, store.preview, out)
            case "png":
                from spm_live.publish.exporters.picture import export_pictures

                return export_pictures(frames, store.preview, out)
    except OSError as error:
        raise SetupError(f"{error.filename or out}: cannot be written ({error.strerror or error})") from error
    raise SetupError(f"no export is called {kind!r}; there are {', '.join(KINDS)}")
