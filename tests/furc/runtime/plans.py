"""Small plans made by hand: host steps of one operator, and programs for the NPU."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from isa.encoding import encode_program
from isa.enf import DramTensor, Enf, HostOperator, HostStep, ModelTensor, NpuStep, Operator, Segment
from isa.instructions import Conv, End, Instruction, Load, LoadWeights, MaxPool, Preload, Store
from isa.layout import Layout, LayoutKind, Place, Shape4, whole
from isa.npu import target
from isa.operands import DramRange, DramWindow, SramRange

NPU = target("warboy")
SHAPE = Shape4(2, 4, 8, 8)
X, Y = (whole(Place(offset, Layout(LayoutKind.HCHCW, 8, 1), SHAPE)) for offset in (0, 4096))
X_AT, Y_AT, DRAM_BYTES = 1 << 16, 1 << 17, 1 << 18
WEIGHTS = SramRange(8192, 8)


def host(op: str, source: str, result: str, images: int = 1) -> HostStep:
    """A step of one operator on int8 tensors of SHAPE; its model takes one of so many parts."""
    shape = [SHAPE.n // images, *SHAPE[1:]]
    x, y = (helper.make_tensor_value_info(name, TensorProto.INT8, shape) for name in (source, result))
    graph = helper.make_graph([helper.make_node(op, [source], [result])], op, [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    operator = HostOperator(op, (f"/{op}",), result, tuple(SHAPE), f"no {op} on the NPU", "", 1024, 5000)
    return HostStep(op, model.SerializeToString(), images, (source,), (result,), (operator,))


def plan(
    steps: Sequence[HostStep | tuple[str, list[Instruction], str]], constants: bytes = b"", y: str = "y", batch: int = 2
) -> Enf:
    """From tensor x to a tensor y. A program stands between the tensors it takes and makes, or "" for none."""
    image = bytearray(constants + bytes(-len(constants) % 64))
    made: list[HostStep | NpuStep] = []
    for step in steps:
        if isinstance(step, HostStep):
            made.append(step)
            continue
        source, program, result = step
        code = encode_program([*program, End()])
        inputs = (DramTensor(source, X_AT, LayoutKind.HCHCW, SHAPE),) if source else ()
        outputs = (DramTensor(result, Y_AT, LayoutKind.HCHCW, SHAPE),) if result else ()
        made.append(NpuStep(inputs, outputs, (Segment(len(image), len(code), 0),), (0,) * len(program)))
        image += code + bytes(-len(code) % 64)
    tensors = [ModelTensor(name, "int8", tuple(SHAPE)) for name in ("x", y)]
    return Enf(
        model_name="plan", furc_version="0", target=NPU.name, fingerprint=NPU.fingerprint(), batch=batch,
        inputs=(tensors[0],), outputs=(tensors[1],), steps=tuple(made), image=bytes(image), dram_bytes=DRAM_BYTES,
        sram_peak_bytes=1 << 16, operators=(Operator("LowLevelThing", ("/thing",), tuple(SHAPE)),),
    )  # fmt: skip


def dram(address: int) -> DramWindow:
    return DramWindow(address, LayoutKind.HCHCW, SHAPE, X.box)


LOAD, STORE = Load(src=dram(X_AT), dst=X).scheduled(0, 0), Store(src=Y, dst=dram(Y_AT)).scheduled(None, 2)


def mixed() -> Enf:
    """abs image by image, a max pool on the NPU, negation, the NPU again, the sign."""
    pool = MaxPool(x=X, y=Y, kh=3, kw=3, pt=1, pl=1).scheduled(1, 1)
    copy = MaxPool(x=X, y=Y).scheduled(1, 1)
    return plan(
        (
            host("Abs", "x", "a", images=2),
            ("a", [LOAD, pool, STORE], "b"),
            host("Neg", "b", "c"),
            ("c", [LOAD, copy, STORE], "d"),
            host("Sign", "d", "y"),
        )
    )


def mixed_result(x: NDArray[np.int8]) -> NDArray[np.int8]:
    """What NumPy makes of it."""
    padded = np.pad(np.abs(x), ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-128)
    pooled = np.max([padded[:, :, i : i + 8, j : j + 8] for i in range(3) for j in range(3)], axis=0)
    result: NDArray[np.int8] = np.sign(-pooled).astype(np.int8)
    return result


def kept() -> Enf:
    """The first program fills a weight bank and loads x; the second convolves with what is there."""
    weights = np.arange(-8, 8, dtype=np.int8).reshape(4, 4)
    pairs = np.array([(channel, 0.25) for channel in range(4)], [("bias", "<i4"), ("multiplier", "<f4")])
    conv = Conv(x=X, y=Y, ocn=4, kn=4)
    fill = [
        LoadWeights(src=DramRange(0, 48), dst=WEIGHTS).scheduled(2, 0),
        Preload(src=WEIGHTS, wbytes=16, vbytes=32).scheduled(3, 1 << 2),
        LOAD,
        conv.scheduled(1, 1 | 1 << 3),
    ]
    again = [conv.scheduled(1, 0), STORE]
    return plan((("x", fill, ""), ("", again, "y")), weights.tobytes() + pairs.tobytes())
