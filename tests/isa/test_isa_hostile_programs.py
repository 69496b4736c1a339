"""Files with good checksums and hostile programs: a FurcError that says where, by both ways of executing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from isa.encoding import encode_program
from isa.enf import Enf, HostSegment, Segment, read, write
from isa.errors import EnfError, FurcError, Loc, RunError
from isa.execute.accelerated import group_convolutions
from isa.instructions import Instruction, make
from isa.interpreter import Interpreter, fetch
from isa.layout import Layout, LayoutKind, Place, Shape4, whole
from isa.machine import Machine
from isa.npu import target
from isa.operands import SramRange

NPU = target("warboy")
NOBODY = HostSegment("host", b"", (), (), (), 0)
LAYOUT = Layout(LayoutKind.HCHCW, 8, 1)
X, Y = (whole(Place(offset, LAYOUT, Shape4(1, 4, 8, 8))) for offset in (0, 4096))
WEIGHTS = SramRange(8192, 64)


def enf_of(*program: Instruction) -> Enf:
    code = encode_program(list(program))
    enf = Enf(
        model_name="hostile", furc_version="0", target=NPU.name, fingerprint=NPU.fingerprint(), batch=1, inputs=(),
        outputs=(), npu_inputs=(), npu_outputs=(), head=NOBODY, tail=NOBODY, image=code, dram_bytes=1 << 16,
        sram_peak_bytes=0, segments=(Segment(0, len(code), 0),), operators=(), operator_of=(),
    )  # fmt: skip
    return read(write(enf))


def conv(wbytes: int = 16, vbytes: int = 32, kn: int = 4, **changes: int) -> tuple[Instruction, Instruction]:
    return (
        make("preload", src=WEIGHTS, wbytes=wbytes, vbytes=vbytes),
        make("conv", **{"x": X, "y": Y, "ocn": 4, "kn": kn, **changes}),  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("accelerate", [True, False])
@pytest.mark.parametrize(
    "program",
    [
        conv(wbytes=17),
        conv(vbytes=31),
        conv(groups=65536),
        conv(kn=65536),
        conv(kh=200, kw=200),
        (make("pad", x=X, y=Y, dh=65535),),
        (make("loadt", src=WEIGHTS, start=4_000_000_000),),
        (make("preload", src=WEIGHTS, start=4_000_000_000, wbytes=9),),
    ],
)
def test_what_cannot_run_is_told_with_its_instruction(program: tuple[Instruction, ...], accelerate: bool) -> None:
    enf = enf_of(*program, make("end"))
    with pytest.raises(RunError) as caught:
        Interpreter(enf, NPU, accelerate=accelerate).run()
    index = len(program) - 1
    assert str(caught.value).startswith(f"error[BadInstruction]: instruction {index} ({program[-1].mnemonic}) cannot ")
    assert "\n" not in caught.value.message and caught.value.hint


@pytest.mark.parametrize("pads", [{"pl": 511}, {"pt": 8}, {"pt": 9, "pl": 1}])
def test_a_tile_that_sees_only_padding_is_the_same_both_ways(pads: dict[str, int]) -> None:
    enf = enf_of(*conv(**pads), make("end"))
    results = []
    for accelerate in (True, False):
        interpreter = Interpreter(enf, NPU, accelerate=accelerate)
        interpreter.machine.sram[:, WEIGHTS.offset : WEIGHTS.offset + WEIGHTS.bytes_per_slice] = 0
        interpreter.run()
        results.append(interpreter.machine.read(Y))
    assert np.array_equal(results[0], results[1])


def test_tiles_that_overlap_in_memory_run_one_by_one() -> None:
    y = whole(Place(4096, LAYOUT, Shape4(1, 16, 8, 8)))
    tiles = [
        instruction
        for oc0 in (0, 4, 8, 12)
        for instruction in (
            make("preload", src=WEIGHTS, wbytes=16, vbytes=32),
            make("conv", x=X, y=y, oc0=oc0, ocn=4, kn=4),
        )
    ]
    assert len(group_convolutions([*tiles, make("end")])) == len(tiles) + 1
    enf = enf_of(*tiles, make("end"))
    machines = []
    for accelerate in (True, False):
        interpreter = Interpreter(enf, NPU, accelerate=accelerate)
        with np.errstate(all="ignore"):
            interpreter.run()
        machines.append(interpreter.machine)
    assert np.array_equal(machines[0].read(y), machines[1].read(y))


@pytest.mark.parametrize(
    ("instruction", "what"),
    [
        (conv(kh=1024, kw=1024, dh=16, dw=16)[1], "conv: the kernel reaches over 16376 x 16376 elements of 4 planes"),
        (conv(sh=32, sw=32, kh=1024, kw=1024, dh=16, dw=16)[1], "conv: the kernel reaches over "),
        (make("maxpool", x=X, y=Y, kh=1024, kw=1024, dh=16, dw=16), "maxpool: the kernel reaches over "),
    ],
)
def test_kernels_that_would_take_all_memory_are_refused(instruction: Instruction, what: str) -> None:
    with pytest.raises(EnfError) as caught:
        fetch(enf_of(make("preload", src=WEIGHTS, wbytes=16, vbytes=32), instruction, make("end")), NPU)
    assert caught.value.name == "BadProgram" and caught.value.message.startswith(f"instruction 1, {what}")


def test_a_jump_out_of_the_program_is_told_with_the_byte() -> None:
    memory = NPU.instruction_memory_bytes
    with pytest.raises(EnfError) as caught:
        fetch(enf_of(make("jump", to=memory - 4)), NPU)
    assert str(caught.value).startswith(f"error[BadProgram]: hostile: byte {memory - 4} of instruction memory: ")


def test_a_host_segment_that_makes_something_of_nothing_is_refused() -> None:
    with pytest.raises(EnfError) as caught:
        write(replace(enf_of(make("end")), head=replace(NOBODY, outputs=("x",))))
    assert caught.value.message == "head.outputs: 'x' is made of nothing, the segment has no inputs"


def test_dram_that_this_computer_has_not_is_an_error_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(np, "zeros", refuse)
    with pytest.raises(RunError) as caught:
        Machine(NPU, 1 << 34)
    assert caught.value.name == "OutOfMemory" and caught.value.hint


def test_names_in_messages_cannot_steer_a_terminal() -> None:
    text = str(FurcError("BadEnf", "\x1b[2Jx", at=Loc("a\nb", ("n\r",)), hint="\x07"))
    assert text == "error[BadEnf]: a\\nb: node 'n\\r': \\x1b[2Jx\n  hint: \\x07"
