"""Collects the nodes and constants of an ONNX graph."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

OPSET = 17
IR_VERSION = 8
"""What onnxruntime 1.18, the oldest allowed, reads without complaint; and the TensorRT parser knows every operator."""

FLOAT, INT64, BOOL, FLOAT16 = 1, 7, 9, 10
"""Types as ONNX numbers them (onnx.proto, TensorProto.DataType)."""

Operand = str | float | NDArray[Any]
"""The name of a tensor, or a number or an array that becomes a constant; a plain number becomes float32."""


class Graph:
    """A graph that grows.

    Every node has the name of its (first) output: the scopes around it, the operator's name and a number, so that what
    belongs together can be found by its prefix.

    Examples
    --------
    >>> graph = Graph()
    >>> with graph.scope("head"):
    ...     print(graph.op("Mul", "image", 2.0))
    head/Mul_1
    """

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._known: dict[tuple[Any, ...], str] = {}
        self._scopes: list[str] = []
        self._counts: dict[str, int] = {}

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Put ``name`` and a slash before all names given within."""
        self._scopes.append(name)
        try:
            yield
        finally:
            self._scopes.pop()

    def op(self, kind: str, *inputs: Operand, name: str = "", **attributes: Any) -> str:
        """Add a node with one output, and return the output's name; an input ``""`` is one left out."""
        return self.ops(kind, 1, *inputs, name=name, **attributes)[0]

    def ops(self, kind: str, outputs: int, *inputs: Operand, name: str = "", **attributes: Any) -> tuple[str, ...]:
        """Add a node with several outputs, and return their names."""
        from onnx import helper

        first = self._fresh(name or kind, numbered=not name)
        names = (first, *(f"{first}:{number}" for number in range(1, outputs)))
        sources = [one if isinstance(one, str) else self.constant(one) for one in inputs]
        self.nodes.append(helper.make_node(kind, sources, list(names), name=first, **attributes))
        return names

    def constant(self, value: float | NDArray[Any], name: str = "") -> str:
        """Add a constant, once for each value that has no name of its own."""
        from onnx import numpy_helper

        array = np.asarray(value, dtype=np.float32) if isinstance(value, (int, float)) else np.asarray(value)
        array = np.ascontiguousarray(array).reshape(array.shape)
        key = (array.dtype.str, array.shape, array.tobytes())
        if not name and key in self._known:
            return self._known[key]
        label = self._fresh(name, numbered=False) if name else f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, label))
        self._known.setdefault(key, label)
        return label

    def whole(self, *values: int) -> str:
        """A constant int64 vector: shapes, axes, bounds."""
        return self.constant(np.array(values, dtype=np.int64))

    def reshape(self, source: str, *shape: int) -> str:
        """Give a tensor another shape; -1 stands for what is left over."""
        return self.op("Reshape", source, self.whole(*shape))

    def filled(self, shape: str, value: float) -> str:
        """A float32 tensor of a shape that is another tensor, the same number everywhere; not stored in the file."""
        from onnx import numpy_helper

        fill = numpy_helper.from_array(np.array([value], dtype=np.float32))
        return self.op("ConstantOfShape", shape, value=fill)

    def part(self, source: str, axis: int, start: int, stop: int) -> str:
        """Cut a range out of one axis."""
        return self.op("Slice", source, self.whole(start), self.whole(stop), self.whole(axis))

    def cast(self, source: str, kind: int) -> str:
        """Change the type of the elements."""
        return self.op("Cast", source, to=kind)

    def rows_of(self, table: str, index: str, *, batch: int, rows: int) -> str:
        """Look rows of each picture's own table up, by one Gather.

        Parameters
        ----------
        table : str
            (batch * rows, ...), the pictures' tables behind one another.
        index : str
            (batch, N) int64, each from 0 to ``rows``.
        batch, rows : int
            Pictures, and rows of the table of each.

        Returns
        -------
        str
            (batch, N, ...).
        """
        if batch > 1:
            index = self.op("Add", index, np.arange(batch, dtype=np.int64)[:, None] * rows)
        return self.op("Gather", table, index, axis=0)

    def _fresh(self, name: str, *, numbered: bool) -> str:
        label = "/".join((*self._scopes, name))
        count = self._counts[label] = self._counts.get(label, 0) + 1
        return f"{label}_{count}" if numbered or count > 1 else label


def build_model(
    graph: Graph, inputs: Sequence[Any], outputs: Sequence[Any], metadata: dict[str, str] | None = None
) -> Any:
    """Make a checked model of a graph.

    Parameters
    ----------
    graph : Graph
    inputs, outputs : sequence of onnx.ValueInfoProto
    metadata : mapping of str to str
        Stored in the file.

    Returns
    -------
    onnx.ModelProto
    """
    import onnx
    from onnx import helper

    model = helper.make_model(
        helper.make_graph(graph.nodes, "spm-live", list(inputs), list(outputs), graph.constants),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="spm-live",
    )
    if metadata:
        helper.set_model_props(model, metadata)
    onnx.checker.check_model(model, full_check=True)
    return model
