"""ONNX models whose operators are ONNX Runtime's integer kernels, built node by node.

Tensors are in kernel form (isa/execute/kernel_form.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, ValueInfoProto, helper, numpy_helper

from isa import ort
from isa.execute.kernel_form import UInt8
from isa.layout import Shape4

ALONE_THREADS = 4  # of a model of one node: a program may have one for every convolution, and each keeps its threads


Pads = tuple[int, int, int, int]  # rows above, columns left, rows below, columns right


class Padded(NamedTuple):
    """Another tensor between constants. before, after: along each of its axes."""

    x: str
    before: tuple[int, int, int, int]
    after: tuple[int, int, int, int]
    value: int


class KernelGraph:
    """Nodes and constants; every name is made here."""

    def __init__(self) -> None:
        opsets = [helper.make_opsetid("", 13), helper.make_opsetid(ort.MICROSOFT, 1)]
        self._model = helper.make_model(helper.make_graph([], "kernels", [], []), opset_imports=opsets, ir_version=8)
        self._graph = self._model.graph
        self._padded: dict[str, Padded] = {}  # what no node makes, for nobody has asked for it
        self._names = 0

    def input(self) -> str:
        """One more input."""
        name = self._name()
        self._graph.input.append(_four_axes(name))
        return name

    def constant(self, values: NDArray[Any] | np.generic) -> str:
        """A constant of the type and shape that values have."""
        name = self._name()
        self._graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def add(self, op: str, inputs: Sequence[str], domain: str = "", **attributes: Any) -> str:
        """A node; the name of its result."""
        name = self._name()
        self._make(inputs)
        self._graph.node.append(helper.make_node(op, list(inputs), [name], domain=domain, **attributes))
        return name

    def pad(self, padded: Padded) -> str:
        """Padding, by a node only where somebody cannot do without."""
        name = self._name()
        self._padded[name] = padded
        return name

    def unpadded(self, x: str, value: int) -> tuple[str, Pads]:
        """What lies inside of x, and how much lies around it, where that is padding of rows and columns by `value`."""
        padded = self._padded.get(x)
        if padded is None or padded.value != value:
            return x, (0, 0, 0, 0)
        (n, top, left, c), (n_behind, bottom, right, c_behind) = padded.before, padded.after
        if any((n, c, n_behind, c_behind)):
            return x, (0, 0, 0, 0)
        return padded.x, (top, left, bottom, right)

    def clip(self, y: str, lo: int, hi: int) -> str:
        """y clamped to lo..hi, as int8 counts."""
        if (lo, hi) == (-128, 127):
            return y
        return self.add("Clip", [y, *(self.constant(np.uint8(bound + 128)) for bound in (lo, hi))])

    def crop(self, x: str, shape: Shape4, used: tuple[int, int]) -> str:
        """The first rows and columns of a tensor."""
        if used == (shape.h, shape.w):
            return x
        return self.add("Slice", [x, *(self.constant(np.array(bounds)) for bounds in ([0, 0], used, [1, 2]))])

    def session(self, outputs: Sequence[str]) -> Kernels:
        """A session that gives these outputs for the inputs; the graph ends with it. Raises ValueError where ONNX
        Runtime refuses."""
        self._make(outputs)
        self._graph.output.extend(map(_four_axes, outputs))
        alone = len(self._graph.node) == 1 and not self._padded
        model = self._model.SerializeToString()
        self._model.Clear()  # the weights are there once more while the session is made
        try:
            return Kernels(ort.kernels(model, few=ALONE_THREADS if alone else 0))
        except Exception as error:  # see below
            raise ValueError(str(error)) from error

    def _make(self, names: Sequence[str]) -> None:
        """Add the nodes of padded tensors that are needed."""
        for name in names:
            if padded := self._padded.pop(name, None):
                self._make([padded.x])
                pads = self.constant(np.array([*padded.before, *padded.after]))
                inputs = [padded.x, pads, self.constant(np.uint8(padded.value + 128))]
                self._graph.node.append(helper.make_node("Pad", inputs, [name]))

    def _name(self) -> str:
        self._names += 1
        return f"t{self._names}"


def _four_axes(name: str) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.UINT8, [None] * 4)


class Kernels:
    """A session of a graph, ready for many runs."""

    def __init__(self, session: ort.Session) -> None:
        self._session = session
        self._inputs, self._outputs = ([x.name for x in has] for has in (session.get_inputs(), session.get_outputs()))

    def run(self, inputs: Sequence[UInt8]) -> list[UInt8]:
        """The outputs, in their order. Raises ValueError where ONNX Runtime cannot."""
        try:
            made: list[UInt8] = self._session.run(self._outputs, dict(zip(self._inputs, inputs, strict=True)))
        except Exception as error:  # ONNX Runtime's exceptions have no common base
            raise ValueError(str(error)) from error
        return made
