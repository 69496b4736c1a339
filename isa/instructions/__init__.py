"""THE instruction set, a file a family. All that is derived from the table is derived from these classes.

The encoding is furc's own: Warboy's real one is not public. An instruction names its tensors by SRAM offset,
layout, shape and box, works on all slices at once, and covers one weight tile of one low-level operator.
"""

from isa.instructions.base import BY_MNEMONIC, BY_OPCODE, NO_SRAM, Instruction, Spec, Unit
from isa.instructions.channels import L2Norm, L2Normalize, Softmax
from isa.instructions.control import End, Jump
from isa.instructions.conv import Conv
from isa.instructions.dma import Load, LoadProgram, LoadWeights, Store
from isa.instructions.elementwise import Accumulate, Add, Binary, Max, Min, Mul, Table, partial_sums
from isa.instructions.matmul import MatMul
from isa.instructions.move import MOVE_AXES, Move, Pad
from isa.instructions.pool import AveragePool, MaxPool
from isa.instructions.sliding import Sliding
from isa.instructions.weights import LoadTable, Preload

TABLE = tuple(spec for _, spec in sorted(BY_OPCODE.items()))

__all__ = [
    "BY_MNEMONIC",
    "BY_OPCODE",
    "MOVE_AXES",
    "NO_SRAM",
    "TABLE",
    "Accumulate",
    "Add",
    "AveragePool",
    "Binary",
    "Conv",
    "End",
    "Instruction",
    "Jump",
    "L2Norm",
    "L2Normalize",
    "Load",
    "LoadProgram",
    "LoadTable",
    "LoadWeights",
    "MatMul",
    "Max",
    "MaxPool",
    "Min",
    "Move",
    "Mul",
    "Pad",
    "Preload",
    "Sliding",
    "Softmax",
    "Spec",
    "Store",
    "Table",
    "Unit",
    "partial_sums",
]
