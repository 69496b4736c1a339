"""Execute a cdfg or gir graph on arrays: ldfg's arithmetic, with weights unpacked and movements as copies.

Both levels have the same ops; the addresses that gir adds change no value. Weights come out of the packed bytes as
the machine will read them, so that packing is part of what is executed. A buffer without content holds the poison
of unwritten SRAM: whatever is read before it is written shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from isa.layout import Box
from isa.machine import POISON
from isa.npu import NpuConfig
from passes.ir.graph import Array, Graph
from passes.ir.lowlevel import Alloc, Load, LoadWeights, LowLevelConv2d, LowLevelTable, Store
from passes.lower.weight_tiles import unpack
from passes.reference.lowlevel import Executor, Held, Weights, boxed, initial, rule

TABLE_BYTES = 256


def run(graph: Graph, inputs: Mapping[str, Array], npu: NpuConfig) -> Held:
    """Every value of a cdfg or gir graph. npu: the machine that the weights are packed for. Raises RunError."""
    return CommandExecutor(initial(graph, inputs), npu).run(graph)


@dataclass(eq=False)
class CommandExecutor(Executor):
    """As in ldfg, with weights and tables in packed bytes."""

    npu: NpuConfig

    def weights(self, op: LowLevelConv2d) -> Weights:
        assert op.packed is not None, "a convolution without packed weights"
        packed, shape = self.held[op.packed], op.result.type.shape4
        table = packed[-TABLE_BYTES:] if op.lookup else None
        box = Box(0, shape.n, 0, shape.c, 0, shape.h)
        k = op.x.type.shape4.c // op.group
        return Weights(*unpack(packed, op.result.type.layout, shape.c, box, k, op.kernel, self.npu), table)

    def table(self, op: LowLevelTable) -> Array:
        assert op.packed is not None, "a look-up without packed table"
        return self.held[op.packed]


@rule(Alloc)
def _alloc(op: Alloc, run: Executor) -> Array:
    return np.full(op.result.type.shape, POISON, np.int8)


@rule(Load)
def _load(op: Load, run: Executor) -> Array:
    return boxed(op.x, op.box, run)


@rule(LoadWeights)
def _load_weights(op: LoadWeights, run: Executor) -> Array:
    return run.held[op.x]


@rule(Store)
def _store(op: Store, run: Executor) -> Array:
    return run.held[op.x]
