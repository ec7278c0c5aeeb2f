"""RoIAlign in a graph, each region on its own level; as :mod:`spm_live.training.maskrcnn.roi_align`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spm_live.training.onnx_export.nodes import INT64, Graph
from spm_live.training.onnx_export.plan import Plan


@dataclass(frozen=True, slots=True)
class Regions:
    """Regions of a pyramid, read as small maps of one size.

    Parameters
    ----------
    values : str
        (R, C, cells, cells) float32.
    place : str
        (R, 1) int64: which box each one is, counted over all pictures. "" if the regions are in order and complete.
    """

    values: str
    place: str = ""

    def sorted_out(self, graph: Graph, results: str, shape: tuple[int, ...]) -> str:
        """Put what was made from each region in the place of its box, and 0 where no region was.

        Parameters
        ----------
        graph : Graph
        results : str
            (R, ...), one for each region.
        shape : tuple of int
            (boxes of all pictures, ...).

        Returns
        -------
        str
            Of that shape.
        """
        if not self.place:
            return results
        return graph.op("ScatterND", graph.filled(graph.whole(*shape), 0.0), self.place, results)


def read_regions(
    graph: Graph,
    plan: Plan,
    pyramid: Sequence[str],
    boxes: str,
    alive: str,
    *,
    count: int,
    cells: int,
    samples: int,
) -> Regions:
    """Read boxes from the levels of the pyramid that suit their sizes.

    Parameters
    ----------
    graph : Graph
    plan : Plan
    pyramid : sequence of str
        (B, C, h, w) float32 of each level that is read.
    boxes : str
        (B, N, 4) x1, y1, x2, y2, within the picture.
    alive : str
        (B, N) bool: the boxes that need be read.
    count : int
        N.
    cells, samples : int
        Rows and columns of the result, and samples along each side of a cell.
    """
    level = _level_of(graph, boxes, len(pyramid), plan.config.roi_canonical_px)
    if plan.plain:
        return _by_atlas(graph, plan, pyramid, boxes, level, count=count, cells=cells, samples=samples)
    level = graph.reshape(graph.op("Where", alive, level, -1.0), -1)
    boxes = graph.reshape(boxes, -1, 4)
    values, places = [], []
    for number, source in enumerate(pyramid):
        place = graph.reshape(graph.op("NonZero", graph.op("Equal", level, float(number))), -1)
        values.append(
            graph.op(
                "RoiAlign",
                source,
                graph.op("Gather", boxes, place, axis=0),
                graph.op("Div", place, np.array(count, dtype=np.int64)),
                coordinate_transformation_mode="half_pixel",
                mode="avg",
                output_height=cells,
                output_width=cells,
                sampling_ratio=samples,
                spatial_scale=1 / plan.config.strides[number],
            )
        )
        places.append(place)
    place = graph.op("Unsqueeze", graph.op("Concat", *places, axis=0), graph.whole(1))
    return Regions(graph.op("Concat", *values, axis=0), place)


def _level_of(graph: Graph, boxes: str, levels: int, canonical_px: float) -> str:
    """(B, N) float32: 0 for the finest level (Lin et al. 2017, arXiv:1612.03144, equation 1)."""
    lengths = [
        graph.op(
            "Max", graph.op("Sub", graph.part(boxes, 2, axis + 2, axis + 3), graph.part(boxes, 2, axis, axis + 1)), 1e-3
        )
        for axis in (0, 1)
    ]
    half_log = graph.op("Mul", graph.op("Log", graph.op("Mul", *lengths)), 0.5)
    doublings = graph.op("Div", graph.op("Sub", half_log, math.log(canonical_px)), math.log(2))
    level = graph.op("Floor", graph.op("Add", doublings, 2.0))
    level = graph.op("Min", graph.op("Max", level, 0.0), float(levels - 1))
    return graph.op("Squeeze", level, graph.whole(2))


def _by_atlas(
    graph: Graph,
    plan: Plan,
    pyramid: Sequence[str],
    boxes: str,
    level: str,
    *,
    count: int,
    cells: int,
    samples: int,
) -> Regions:
    """Lay all levels below one another on one sheet, and sample that by one GridSample.

    A place is held between the centres of the outermost points of its level, so that nothing of a neighbour on the
    sheet gets in; boxes lie within the picture, so that no sample is far enough outside to count as 0.
    """
    shapes = [(plan.rows // stride, plan.columns // stride) for stride in plan.config.strides[: len(pyramid)]]
    width, height = max(shape[1] for shape in shapes), sum(shape[0] for shape in shapes)
    sheet = graph.op("Concat", *(_widened(graph, *one, width) for one in zip(pyramid, shapes, strict=True)), axis=2)
    number = graph.cast(level, INT64)
    starts = np.cumsum([0, *(shape[0] for shape in shapes[:-1])])
    side = cells * samples
    steps = ((np.arange(side) + 0.5) / side).astype(np.float32)
    at = []
    for axis, sizes, origins, length in (
        (0, [shape[1] for shape in shapes], np.zeros(len(shapes)), width),
        (1, [shape[0] for shape in shapes], starts, height),
    ):
        low, high = graph.part(boxes, 2, axis, axis + 1), graph.part(boxes, 2, axis + 2, axis + 3)
        place = graph.op("Add", low, graph.op("Mul", graph.op("Sub", high, low), steps))
        place = graph.op(
            "Sub", graph.op("Div", place, _of_level(graph, plan.config.strides[: len(shapes)], number)), 0.5
        )
        last = _of_level(graph, [size - 1 for size in sizes], number)
        place = graph.op("Min", graph.op("Max", place, 0.0), last)
        place = graph.op("Add", place, _of_level(graph, origins, number))
        # GridSample counts from -1 to 1, from edge to edge of the sheet.
        at.append(graph.op("Sub", graph.op("Mul", graph.op("Add", place, 0.5), 2 / length), 1.0))
    batch = plan.batch
    across = graph.op(
        "Expand", graph.reshape(at[0], batch, count, 1, side, 1), graph.whole(batch, count, side, side, 1)
    )
    down = graph.op("Expand", graph.reshape(at[1], batch, count, side, 1, 1), graph.whole(batch, count, side, side, 1))
    grid = graph.reshape(graph.op("Concat", across, down, axis=4), batch, count * side, side, 2)
    values = graph.op("GridSample", sheet, grid, mode="bilinear", padding_mode="border", align_corners=0)
    if samples > 1:
        values = graph.op("AveragePool", values, kernel_shape=[samples] * 2, strides=[samples] * 2)
    channels = plan.config.channels
    values = graph.reshape(values, batch, channels, count, cells * cells)
    values = graph.op("Transpose", values, perm=[0, 2, 1, 3])
    return Regions(graph.reshape(values, batch * count, channels, cells, cells))


def _widened(graph: Graph, source: str, shape: tuple[int, int], width: int) -> str:
    """Fill a level up to the width of the sheet."""
    if shape[1] == width:
        return source
    return graph.op("Pad", source, graph.whole(0, 0, 0, 0, 0, 0, 0, width - shape[1]), 0.0)


def _of_level(graph: Graph, values: Sequence[float] | np.ndarray, number: str) -> str:
    """(B, N, 1) float32: what belongs to the level of each box."""
    table = np.array(values, dtype=np.float32)
    return graph.op("Unsqueeze", graph.op("Gather", table, number, axis=0), graph.whole(2))
