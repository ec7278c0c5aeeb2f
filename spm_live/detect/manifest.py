"""The manifest that lies beside a model's weights, and where models are looked for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Annotated, Any, Literal, Self

from platformdirs import user_data_path
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from spm_live.domain import InputSpec, Levelling, ModelIdentity
from spm_live.errors import FrameError, SetupError
from spm_live_drivers.registry import file_sha256

MANIFEST_FILE = "manifest.json"
SCHEMA_VERSION = 1
MODELS_VARIABLE = "SPM_LIVE_MODELS"
LARGEST_MANIFEST = 1024 * 1024
"""In bytes; a larger file is no manifest."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _check_plain(what: str, name: str) -> None:
    """A file named by a manifest lies beside it, never elsewhere on the machine."""
    if not PurePosixPath(name).name == name == PureWindowsPath(name).name or name in {".", ".."}:
        raise ValueError(f"{what} {name!r} must be the name of a file beside the manifest, not a path")


class InputSection(_Part):
    """What the network wants to be shown; the fields are those of :class:`spm_live.domain.InputSpec`."""

    rows: int = Field(ge=16, le=8192)
    columns: int = Field(ge=16, le=8192)
    nm_per_px: float | None = Field(gt=0, le=1000)
    overlap_px: int = Field(ge=0)
    levelling: Levelling = Levelling.ROWS
    contrast: tuple[Annotated[float, Field(ge=0, le=1)], Annotated[float, Field(ge=0, le=1)]] = (0.005, 0.995)

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.contrast[0] >= self.contrast[1]:
            raise ValueError(f"contrast {list(self.contrast)} must rise")
        if 2 * self.overlap_px > min(self.rows, self.columns):
            raise ValueError(f"overlap_px {self.overlap_px} is more than half a tile of {self.rows} x {self.columns}")
        return self


class TrainingWeights(_Part):
    """Weights to learn on from; no network is run from them.

    Parameters
    ----------
    file : str
        Name of the file in the model's folder, as :func:`spm_live.training.maskrcnn.weights.save_npz` writes it.
    sha256 : str
        Hex digest of that file.
    """

    file: str = Field(min_length=1, max_length=200)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    @model_validator(mode="after")
    def _sound(self) -> Self:
        _check_plain("training_weights", self.file)
        return self


class Manifest(_Part):
    """A model's papers.

    Parameters
    ----------
    schema_version : int
        1.
    name, version : str
        What people call the model.
    classes : tuple of str
        Names, in the order of the network's class numbers; all different.
    weights : str
        Name of the ONNX file in the same folder.
    sha256 : str
        Hex digest of that file.
    license : str
        Licence of the weights.
    input : InputSection
        What the network wants to be shown.
    min_score : float
        Detections under this score are dropped.
    nms_iou : float
        Of two detections that overlap by more than this, the one with the lower score is dropped.
    nms_kind : "box" or "mask"
        What overlap is measured on.
    max_detections : int
        Slots in the network's outputs: the most molecules in one tile.
    trained_on, command : str
        Data and command line that the weights come from.
    metrics : mapping of str to float
        As measured on data that was not trained on.
    network : mapping or None
        What the network is built from again when it is trained on (``NetworkConfig``); only the training looks at it.
    training_weights : TrainingWeights or None
        Weights to learn on from.
    """

    schema_version: Literal[1]
    name: str = Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    version: str = Field(min_length=1, max_length=100)
    classes: tuple[Annotated[str, Field(min_length=1, max_length=100)], ...] = Field(min_length=1, max_length=1000)
    weights: str = Field(min_length=1, max_length=200)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    license: str = Field(min_length=1)
    input: InputSection
    min_score: float = Field(ge=0, le=1)
    nms_iou: float = Field(gt=0, le=1)
    nms_kind: Literal["box", "mask"] = "box"
    max_detections: int = Field(ge=1, le=10_000)
    trained_on: str = ""
    command: str = ""
    metrics: dict[str, float] = Field(default_factory=dict)
    network: dict[str, Any] | None = None
    training_weights: TrainingWeights | None = None

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if len(set(self.classes)) < len(self.classes):
            raise ValueError(f"classes {list(self.classes)} holds a name twice")
        _check_plain("weights", self.weights)
        return self

    @property
    def spec(self) -> InputSpec:
        """What ``prepare`` needs to know."""
        return InputSpec(
            rows=self.input.rows,
            columns=self.input.columns,
            nm_per_px=self.input.nm_per_px,
            overlap_px=self.input.overlap_px,
            levelling=self.input.levelling,
            contrast=self.input.contrast,
        )

    @property
    def identity(self) -> ModelIdentity:
        """What is stored beside every result."""
        return ModelIdentity(self.name, self.version, self.sha256)


def find_model(name_or_path: str | Path) -> Path:
    """Find a model's folder.

    Parameters
    ----------
    name_or_path : str or Path
        A folder that holds a manifest, or the name of an installed model. A name is looked for in the folders of the
        environment variable ``SPM_LIVE_MODELS``, in the user's data folder, and among the models that come with
        spm-live, in this order.

    Raises
    ------
    SetupError
        If it is nowhere; the sentence lists where it was looked for.
    """
    places = [Path(name_or_path).expanduser()]
    if places[0].name == str(name_or_path):
        places += [parent / name_or_path for parent in _model_parents()]
    for place in places:
        if (place / MANIFEST_FILE).is_file():
            return place
    looked = ", ".join(str(place) for place in places)
    raise SetupError(
        f"no model {str(name_or_path)!r}: no {MANIFEST_FILE} in {looked}; "
        f"give the folder of a model, or set {MODELS_VARIABLE}"
    )


def installed_models() -> Iterator[tuple[Path, Manifest]]:
    """List the models that :func:`find_model` finds by name, in the order in which it looks.

    A folder whose manifest does not hold is left out: :func:`load_manifest` says why.
    """
    seen: set[str] = set()
    for parent in _model_parents():
        for path in sorted(parent.glob(f"*/{MANIFEST_FILE}")):
            try:
                manifest = load_manifest(path.parent)
            except SetupError:
                continue
            if path.parent.name not in seen:
                seen.add(path.parent.name)
                yield path.parent, manifest


def load_manifest(folder: Path) -> Manifest:
    """Read a model's manifest and check its weights against it.

    Parameters
    ----------
    folder : Path
        As :func:`find_model` returns it.

    Raises
    ------
    SetupError
        Listing everything that is wrong: fields that are missing, unknown or out of range, a schema from a later
        version, weights that are missing or are not the ones that the manifest was written for.
    """
    path = folder / MANIFEST_FILE
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST_MANIFEST + 1)
    except OSError as error:
        raise SetupError(f"{path}: cannot be read ({error.strerror or error}); give the folder of a model") from error
    if len(text) > LARGEST_MANIFEST:
        raise SetupError(f"{path}: is larger than {LARGEST_MANIFEST // 1024} KiB, so it is no manifest")
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        raise SetupError([f"{path}: {line}" for line in _explain(error)]) from error
    _check_weights(folder / manifest.weights, manifest.sha256)
    return manifest


def _model_parents() -> Iterator[Path]:
    listed = os.environ.get(MODELS_VARIABLE, "")
    yield from (Path(part).expanduser() for part in listed.split(os.pathsep) if part)
    yield user_data_path("spm-live") / "models"
    package = Path(__file__).resolve().parents[1]
    yield package / "shipped" / "models"
    yield package.parent / "models"


def _check_weights(weights: Path, sha256: str) -> None:
    try:
        found = file_sha256(weights)
    except FrameError as error:
        raise SetupError(f"{weights}: {error.reason}; copy the model's folder again") from error
    if found != sha256:
        raise SetupError(
            f"{weights}: sha256 is {found}, the manifest says {sha256}: "
            "the weights were changed or damaged; copy the model's folder again"
        )


def _explain(error: ValidationError) -> Iterator[str]:
    for problem in error.errors():
        place = ".".join(str(part) for part in problem["loc"]) or "manifest"
        if place == "schema_version" and problem["type"] == "literal_error":
            yield (
                f"schema_version is {problem['input']!r}, this spm-live knows {SCHEMA_VERSION}; "
                "update spm-live, or use an older model"
            )
        elif problem["type"] == "extra_forbidden":
            yield f"{place}: no such field"
        else:
            yield f"{place}: {problem['msg'].removeprefix('Value error, ')}"
