"""What there is to choose about training: one TOML file, checked as a whole before anything starts."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from spm_live.detect.manifest import InputSection
from spm_live.domain import Levelling
from spm_live.errors import SetupError
from spm_live.training.maskrcnn.config import NetworkConfig, resnet50_config

Share = Annotated[float, Field(ge=0, le=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Stage(_Section):
    """A part of the run.

    Parameters
    ----------
    name : str
        For log and report.
    trainable : "heads" or "all"
        ``heads``: the backbone stays as it is, normalisation included; for weights that come from elsewhere.
    steps : int
        Batches.
    rate : float
        Highest learning rate.
    """

    name: str = Field(min_length=1, max_length=50)
    trainable: Literal["heads", "all"] = "all"
    steps: int = Field(ge=1, le=10_000_000)
    rate: float = Field(gt=0, le=1)


class Shown(InputSection):
    """What the finished model will be shown, as its manifest will say; training pictures are prepared in the same way.

    The defaults are those of labelled pictures: taken in their own pixels, and levelled already.
    """

    rows: int = Field(default=512, ge=32, le=8192)
    columns: int = Field(default=512, ge=32, le=8192)
    nm_per_px: float | None = Field(default=None, gt=0, le=1000)
    overlap_px: int = Field(default=96, ge=0)
    levelling: Levelling = Levelling.NONE


class Validation(_Section):
    """What the network is judged on while it learns.

    Parameters
    ----------
    kind : "split", "drawn" or "none"
        ``split``: pictures, or a region of the only picture, that are not trained on. ``drawn``: drawn pictures.
        ``none``: nothing; the last weights are taken. For a few labelled molecules that are all needed.
    part : float
        For ``split``: part of the labelled molecules.
    pictures : int
        For ``drawn``: how many.
    every : int
        Steps between two looks.
    patience : int
        Training ends when this many looks in a row were no better; 0 for never.
    least_gain : float
        Mean of the average precisions of boxes and masks must rise by more than this to be better.
    """

    kind: Literal["split", "drawn", "none"] = "split"
    part: float = Field(default=0.2, gt=0, lt=1)
    pictures: int = Field(default=24, ge=1, le=10_000)
    every: int = Field(default=200, ge=1)
    patience: int = Field(default=0, ge=0)
    least_gain: float = Field(default=0.0, ge=0, lt=1)


class TrainingSettings(_Section):
    """Everything that a training run can be told.

    Parameters
    ----------
    name, version, license, purpose : str
        For manifest and card; the name is that of the output folder unless given. ``purpose`` is a sentence.
    classes : tuple of str
        Names, in the order of class numbers; those of the labels, sorted, unless given. Others are ignored.
    network : mapping
        What differs from the network's own settings (:class:`spm_live.training.maskrcnn.config.NetworkConfig`).
    shown : Shown
        What the finished model will be shown.
    rows, columns : int
        Shape of a training picture, in pixels.
    batch : int
        Training pictures a step.
    stages : tuple of Stage
        One after the other.
    warm_up : int
        Steps at the start of every stage in which the rate rises; a fifth of the stage at most.
    falling : "cosine" or "none"
        How the rate changes over the whole run; a cosine ends at ``last_rate`` times the rate of the stage.
    weight_decay : float
        Of AdamW (Loshchilov & Hutter 2017, arXiv:1711.05101); biases and normalisations have none.
    clip : float
        Greatest norm of all gradients together; 0 for none.
    average : float
        Momentum of the moving average of the weights, which is what is judged and exported; 0 for none.
    precision : "float32" or "mixed_bfloat16"
        What the layers compute in; the weights are float32.
    compiled : bool
        Whether XLA compiles a step, where the backend leaves a choice.
    seed : int
        Of the weights and of every picture.
    deterministic : bool
        Ask the backend for operations that give the same bits every time; slower on a GPU.
    validation : Validation
        What the network is judged on.
    checkpoint_every : int
        Steps between two checkpoints.
    checkpoint_minutes : float
        Time between two checkpoints; whichever comes first.
    start_from : Path or None
        Folder of a model, a table of weights (``.npz``), or matterport's ``mask_rcnn_coco.h5``; None for random
        weights.
    outline_px : float
        Labelled outlines are moved outwards by so much before they are learnt, in pixels of the labelled pictures:
        where people drew them tighter than areas are to be measured.
    recipe : str
        Name of the recipe that changes labelled pictures.
    recipe_changes : mapping
        What differs from that recipe.
    drawn_share : float
        Part of the training pictures that are drawn instead of taken from the labelled ones; 1 where there are none.
    drawn_kind : "usual" or "monolayer"
        Any scans, or close-packed layers.
    drawn : mapping
        What differs from that recipe for drawing (:class:`spm_live.training.drawn.DrawnRecipe`).
    workers : int
        Threads or processes that make training pictures; 0 to make them between the steps.
    worker_kind : "threads" or "processes"
        Processes for many cores; threads cost nothing to start.
    ahead : int
        Batches made ahead, at most.
    threads : int
        Threads that the network may use; 0 for all cores.
    """

    name: str = Field(default="", max_length=100, pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]*)?$")
    version: str = Field(default="1", min_length=1, max_length=100)
    license: str = Field(default="not stated", min_length=1)
    purpose: str = ""
    classes: tuple[Annotated[str, Field(min_length=1, max_length=100)], ...] = ()
    network: dict[str, Any] = Field(default_factory=dict)
    shown: Shown = Shown()
    rows: int = Field(default=256, ge=64, le=4096)
    columns: int = Field(default=256, ge=64, le=4096)
    batch: int = Field(default=4, ge=1, le=256)
    stages: tuple[Stage, ...] = Field(default=(Stage(name="all", steps=2000, rate=1e-3),), min_length=1)
    warm_up: int = Field(default=200, ge=0)
    falling: Literal["cosine", "none"] = "cosine"
    last_rate: Share = 0.01
    weight_decay: float = Field(default=1e-4, ge=0, le=1)
    clip: float = Field(default=5.0, ge=0)
    average: float = Field(default=0.998, ge=0, lt=1)
    precision: Literal["float32", "mixed_bfloat16"] = "float32"
    compiled: bool = False
    seed: int = Field(default=2026, ge=0, lt=2**31)
    deterministic: bool = False
    validation: Validation = Validation()
    checkpoint_every: int = Field(default=500, ge=1)
    checkpoint_minutes: float = Field(default=5.0, gt=0)
    start_from: Path | None = None
    outline_px: float = Field(default=0.0, ge=0, le=50)
    recipe: str = "standard"
    recipe_changes: dict[str, Any] = Field(default_factory=dict)
    drawn_share: Share = 0.0
    drawn_kind: Literal["usual", "monolayer"] = "usual"
    drawn: dict[str, Any] = Field(default_factory=dict)
    workers: int = Field(default=1, ge=0, le=256)
    worker_kind: Literal["threads", "processes"] = "threads"
    ahead: int = Field(default=8, ge=1, le=1000)
    threads: int = Field(default=0, ge=0, le=1024)

    @model_validator(mode="after")
    def _sound(self) -> Self:
        coarsest = self.network_config(("any",)).strides[-1]
        for what, value in (
            ("rows", self.rows),
            ("columns", self.columns),
            ("shown.rows", self.shown.rows),
            ("shown.columns", self.shown.columns),
        ):
            if value % coarsest:
                raise ValueError(f"{what} is {value}; this backbone needs a multiple of {coarsest}")
        if len(set(self.classes)) < len(self.classes):
            raise ValueError(f"classes {list(self.classes)} holds a name twice")
        return self

    def network_config(self, classes: tuple[str, ...]) -> NetworkConfig:
        """The network, for given classes."""
        if "classes" in self.network:
            raise ValueError("network.classes: set classes beside network instead")
        if self.network.get("backbone") == "resnet50":
            return resnet50_config(classes, **self.network)
        return NetworkConfig.model_validate({"classes": classes} | self.network)

    @property
    def steps(self) -> int:
        """Steps of all stages."""
        return sum(stage.steps for stage in self.stages)


def load_training_settings(path: Path, changes: Mapping[str, Any] | None = None) -> TrainingSettings:
    """Read a file of training settings.

    Parameters
    ----------
    path : Path
        TOML; a relative path in ``start_from`` is relative to the file, a bare name may be that of an installed model.
    changes : mapping or None
        Fields that replace those of the file.

    Raises
    ------
    SetupError
        Naming every problem at once, with its place and, for a misspelt name, the nearest right one.
    """
    try:
        with path.open("rb") as file:
            values = tomllib.load(file)
    except OSError as error:
        raise SetupError(f"{path}: cannot be read ({error.strerror}); give training settings with --config") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SetupError(f"{path}: is not valid TOML: {error}") from error
    if isinstance(values.get("start_from"), str):
        beside = path.resolve().parent / Path(values["start_from"]).expanduser()
        # A bare name that is not there may be that of an installed model.
        if Path(values["start_from"]).name != values["start_from"] or beside.exists():
            values["start_from"] = beside
    return training_settings_from(values | dict(changes or {}), origin=str(path))


def training_settings_from(values: Mapping[str, Any], *, origin: str = "training settings") -> TrainingSettings:
    """Check training settings given as nested mappings.

    Raises
    ------
    SetupError
        As :func:`load_training_settings`.
    """
    try:
        return TrainingSettings.model_validate(dict(values))
    except ValidationError as error:
        raise SetupError([f"{origin}: {line}" for line in _explain(error)]) from error


def _explain(error: ValidationError) -> Iterator[str]:
    for problem in error.errors():
        place = ".".join(str(part) for part in problem["loc"]) or "settings"
        if problem["type"] == "extra_forbidden":
            near = difflib.get_close_matches(str(problem["loc"][-1]), _fields(problem["loc"][:-1]), n=1)
            yield f"{place}: no such setting" + (f"; did you mean {near[0]!r}?" if near else "")
        elif problem["type"] in {"missing", "value_error"}:
            yield f"{place}: {problem['msg'].removeprefix('Value error, ')}"
        else:
            yield f"{place}: {problem['msg']} (is {problem['input']!r})"


def _fields(place: tuple[str | int, ...]) -> list[str]:
    sections: dict[str | int, type[BaseModel]] = {"stages": Stage, "shown": Shown, "validation": Validation}
    return list(sections.get(place[0] if place else "", TrainingSettings).model_fields)
