"""THE instruction set, a file a family. All that is derived from the table is derived from these classes.

The encoding is furc's own: Warboy's real one is not public. An instruction names its tensors by SRAM offset,
layout, shape and box, works on all slices at once, and covers one weight tile of one low-level operator.
"""

from isa.instructions.base import BY_MNEMONIC, BY_OPCODE, NO_SRAM, Instruction, Spec, Unit
from isa.instructions.control import End, Jump
from isa.instructions.conv import Conv
from isa.instructions.dma import Load, LoadProgram, LoadWeights, Store
from isa.instructions.elementwise import Add, Binary, Mul, Table
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
    "Add",
    "AveragePool",
    "Binary",
    "Conv",
    "End",
    "Instruction",
    "Jump",
    "Load",
    "LoadProgram",
    "LoadTable",
    "LoadWeights",
    "MaxPool",
    "Move",
    "Mul",
    "Pad",
    "Preload",
    "Sliding",
    "Spec",
    "Store",
    "Table",
    "Unit",
]
