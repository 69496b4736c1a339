"""ONNX models whose operators are ONNX Runtime's integer kernels, built node by node.

Tensors are in kernel form (isa/execute/kernel_form.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from isa import ort
from isa.execute.kernel_form import UInt8
from isa.layout import Shape4

ALONE_THREADS = 4  # of a model of one node: a program may have one for every convolution, and each keeps its threads


class KernelGraph:
    """Nodes and constants; every name is made here."""

    def __init__(self) -> None:
        self._nodes: list[NodeProto] = []
        self._constants: list[TensorProto] = []
        self._inputs: list[str] = []
        self._names = 0

    def input(self) -> str:
        """One more input."""
        self._inputs.append(self._name())
        return self._inputs[-1]

    def constant(self, values: NDArray[Any] | np.generic) -> str:
        """A constant of the type and shape that values have."""
        name = self._name()
        self._constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def add(self, op: str, inputs: Sequence[str], domain: str = "", **attributes: Any) -> str:
        """A node; the name of its result."""
        name = self._name()
        self._nodes.append(helper.make_node(op, list(inputs), [name], domain=domain, **attributes))
        return name

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

    def session(self, outputs: Sequence[str]) -> Any:
        """A session that gives these outputs for the inputs. Raises ValueError where ONNX Runtime refuses."""
        graph = helper.make_graph(
            self._nodes, "kernels",
            [helper.make_tensor_value_info(name, TensorProto.UINT8, [None] * 4) for name in self._inputs],
            [helper.make_tensor_value_info(name, TensorProto.UINT8, [None] * 4) for name in outputs],
            self._constants,
        )  # fmt: skip
        opsets = [helper.make_opsetid("", 13), helper.make_opsetid(ort.MICROSOFT, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        try:
            return ort.kernels(model.SerializeToString(), few=ALONE_THREADS if len(self._nodes) == 1 else 0)
        except Exception as error:  # ONNX Runtime's exceptions have no common base
            raise ValueError(str(error)) from error

    def _name(self) -> str:
        self._names += 1
        return f"t{self._names}"


def run(session: Any, inputs: Sequence[UInt8]) -> list[UInt8]:
    """The outputs, in their order. Raises ValueError where ONNX Runtime cannot."""
    try:
        feed = {declared.name: array for declared, array in zip(session.get_inputs(), inputs, strict=True)}
        made: list[UInt8] = session.run(None, feed)
    except Exception as error:  # see above
        raise ValueError(str(error)) from error
    return made
