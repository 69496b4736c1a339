"""Files with good checksums and hostile programs: a FurcError that says where, by both ways of executing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from isa.encoding import encode_program
from isa.enf import Enf, HostStep, NpuStep, Segment, read, write
from isa.errors import EnfError, FurcError, Loc, RunError
from isa.execute.conv_group import group_convolutions
from isa.instructions import Conv, End, Instruction, Jump, LoadTable, LoadWeights, MaxPool, Pad, Preload
from isa.interpreter import Interpreter
from isa.layout import Layout, LayoutKind, Place, Shape4, whole
from isa.machine import Machine
from isa.npu import target
from isa.operands import DramRange, SramRange
from isa.program import fetch

NPU = target("warboy")
NOBODY = HostStep("host", b"", 1, (), (), ())
LAYOUT = Layout(LayoutKind.HCHCW, 8, 1)
X, Y = (whole(Place(offset, LAYOUT, Shape4(1, 4, 8, 8))) for offset in (0, 4096))
WEIGHTS = SramRange(8192, 64)


def enf_of(*program: Instruction) -> Enf:
    code = encode_program(list(program))
    enf = Enf(
        model_name="hostile", furc_version="0", target=NPU.name, fingerprint=NPU.fingerprint(), batch=1, inputs=(),
        outputs=(), steps=(NpuStep((), (), (Segment(0, len(code), 0),), ()),), image=code, dram_bytes=1 << 16,
        sram_peak_bytes=0, operators=(),
    )  # fmt: skip
    return read(write(enf))


def conv(wbytes: int = 16, vbytes: int = 32, kn: int = 4, **changes: object) -> tuple[Instruction, Instruction]:
    return (
        Preload(src=WEIGHTS, wbytes=wbytes, vbytes=vbytes),
        Conv(**{"x": X, "y": Y, "ocn": 4, "kn": kn, **changes}),  # type: ignore[arg-type]
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
        (Pad(x=X, y=Y, dh=65535),),
        (LoadTable(src=WEIGHTS, start=4_000_000_000),),
        (Preload(src=WEIGHTS, start=4_000_000_000, wbytes=9),),
    ],
)
def test_what_cannot_run_is_told_with_its_instruction(program: tuple[Instruction, ...], accelerate: bool) -> None:
    enf = enf_of(*program, End())
    with pytest.raises(RunError) as caught:
        Interpreter(enf, NPU, accelerate=accelerate).run()
    index = len(program) - 1
    assert str(caught.value).startswith(f"error[BadInstruction]: instruction {index} ({program[-1].mnemonic}) cannot ")
    assert "\n" not in caught.value.message and caught.value.hint


@pytest.mark.parametrize("pads", [{"pl": 511}, {"pt": 8}, {"pt": 9, "pl": 1}])
def test_a_tile_that_sees_only_padding_is_the_same_both_ways(pads: dict[str, int]) -> None:
    enf = enf_of(*conv(**pads), End())
    results = []
    for accelerate in (True, False):
        interpreter = Interpreter(enf, NPU, accelerate=accelerate)
        interpreter.machine.sram[:, WEIGHTS.offset : WEIGHTS.offset + WEIGHTS.bytes_per_slice] = 0
        interpreter.run()
        results.append(interpreter.machine.read(Y))
    assert np.array_equal(results[0], results[1])


@pytest.mark.parametrize("accelerate", [True, False])
@pytest.mark.parametrize("multiplier", [np.nan, np.inf])
def test_a_multiplier_that_is_no_number_is_told_both_ways(multiplier: float, accelerate: bool) -> None:
    interpreter = Interpreter(enf_of(*conv(), End()), NPU, accelerate=accelerate)
    pairs = np.array([(0, 0.01), (0, multiplier), (0, 0.01), (0, 0.01)], [("bias", "<i4"), ("multiplier", "<f4")])
    tile = np.concatenate([np.zeros(16, np.int8), np.frombuffer(pairs.tobytes(), np.int8)])
    interpreter.machine.write_striped(WEIGHTS, tile)
    with pytest.raises(
        RunError, match=r"instruction 1 \(conv\) cannot run: the multiplier of an output channel is not"
    ):
        interpreter.run()


def test_tiles_that_overlap_in_memory_run_one_by_one() -> None:
    y = whole(Place(4096, LAYOUT, Shape4(1, 16, 8, 8)))
    tiles = [
        instruction
        for oc0 in (0, 4, 8, 12)
        for instruction in (
            Preload(src=WEIGHTS, wbytes=16, vbytes=32),
            Conv(x=X, y=y, oc0=oc0, ocn=4, kn=4),
        )
    ]
    assert len(group_convolutions([*tiles, End()], NPU)) == len(tiles) + 1
    enf = enf_of(*tiles, End())
    machines = []
    for accelerate in (True, False):
        interpreter = Interpreter(enf, NPU, accelerate=accelerate)
        with np.errstate(all="ignore"):
            interpreter.run()
        machines.append(interpreter.machine)
    assert np.array_equal(machines[0].read(y), machines[1].read(y))


def both_ways(*program: Instruction) -> list[Machine]:
    """The machine after a program, accelerated and not, with weights in DRAM and in SRAM."""
    machines = []
    for accelerate in (True, False):
        interpreter = Interpreter(enf_of(*program, End()), NPU, accelerate=accelerate)
        machine = interpreter.machine
        machine.dram[-64:] = np.arange(64)
        pairs = np.array([(channel, 0.01) for channel in range(4)], [("bias", "<i4"), ("multiplier", "<f4")])
        tile = np.concatenate([np.arange(-8, 8, dtype=np.int8), np.frombuffer(pairs.tobytes(), np.int8)])
        machine.write_striped(WEIGHTS, tile)
        machine.write(X, np.random.default_rng(0).integers(-128, 128, X.shape, np.int8))
        with np.errstate(all="ignore"):
            interpreter.run()
        machines.append(machine)
    return machines


def test_a_tile_alone_finds_the_bank_that_a_whole_convolution_used() -> None:
    preload, whole_conv = conv()
    alone = Conv(x=X, y=Y, acc=SramRange(16384, 1024), ocn=4, kn=4, last=0)
    fast, slow = both_ways(preload, whole_conv, alone)
    assert np.array_equal(fast.sram, slow.sram)


def test_a_whole_contraction_on_top_of_earlier_sums_adds_them() -> None:
    acc, other = SramRange(16384, 1024), whole(Place(12288, LAYOUT, Shape4(1, 4, 8, 8)))
    begun, ended = conv(acc=acc, last=0), conv(acc=acc, y=other, first=0)
    assert len(group_convolutions([*ended, End()], NPU)) == 3  # it is not the convolution that it looks like
    fast, slow = both_ways(*begun, *ended)
    assert np.array_equal(fast.sram, slow.sram)


def test_weights_overwritten_after_they_were_preloaded_do_not_count() -> None:
    preload, whole_conv = conv()
    other = LoadWeights(src=DramRange((1 << 16) - 64, 64), dst=WEIGHTS)
    fast, slow = both_ways(preload, other, whole_conv)
    assert np.array_equal(fast.read(Y), slow.read(Y))


@pytest.mark.parametrize(
    ("instruction", "what"),
    [
        (conv(kh=1024, kw=1024, dh=16, dw=16)[1], "conv: the kernel reaches over 16376 x 16376 elements of 4 planes"),
        (conv(sh=32, sw=32, kh=1024, kw=1024, dh=16, dw=16)[1], "conv: the kernel reaches over "),
        (MaxPool(x=X, y=Y, kh=1024, kw=1024, dh=16, dw=16), "maxpool: the kernel reaches over "),
    ],
)
def test_kernels_that_would_take_all_memory_are_refused(instruction: Instruction, what: str) -> None:
    with pytest.raises(EnfError) as caught:
        fetch(enf_of(Preload(src=WEIGHTS, wbytes=16, vbytes=32), instruction, End()), NPU)
    assert caught.value.name == "BadProgram" and caught.value.message.startswith(f"instruction 1, {what}")


def test_a_jump_out_of_the_program_is_told_with_the_byte() -> None:
    memory = NPU.instruction_memory_bytes
    with pytest.raises(EnfError) as caught:
        fetch(enf_of(Jump(to=memory - 4)), NPU)
    assert str(caught.value).startswith(f"error[BadProgram]: hostile: byte {memory - 4} of instruction memory: ")


def test_a_host_step_without_results_or_with_images_of_nothing_is_refused() -> None:
    with pytest.raises(EnfError) as caught:
        write(replace(enf_of(End()), steps=(NOBODY, replace(NOBODY, images=2, outputs=("x",)))))
    assert caught.value.message == "steps[0].outputs: a host step makes at least one tensor"
    assert caught.value.also == ("steps[1].images: 2, without an input to cut",)


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


def test_names_of_thousands_of_letters_lose_their_middle() -> None:
    name = "ab" * 2500
    error = FurcError("BadEnf", f"no tensor '{name}' of 3", at=Loc("m.enf", (name,)), hint=name, also=(name,))
    short = f"{'ab' * 60}...(4800 more)...{'ab' * 40}"
    assert str(error).splitlines() == [
        f"error[BadEnf]: m.enf: node {_quoted(short)}: no tensor {_quoted(short)} of 3",
        f"  also: {short}",
        f"  hint: {short}",
    ]
    assert error.message == f"no tensor '{name}' of 3"  # programs get all of it


def _quoted(short: str) -> str:
    """The quotes are letters of the word, too."""
    return f"'{short[:119]}...(4802 more)...{short[-79:]}'"


def test_a_message_of_thousands_of_words_loses_its_middle() -> None:
    [line] = str(FurcError("BadEnf", "a b " * 2000 + "end")).splitlines()
    assert line.startswith("error[BadEnf]: a b a b ") and line.endswith(" a b end")
    assert "...(6337 more)..." in line and len(line) < 2000


def test_a_message_of_usual_length_is_whole() -> None:
    path = "/".join(["a-folder-of-usual-length"] * 9)
    error = FurcError("BadEnf", f"its inputs: {', '.join(f'input{i}' for i in range(100))}", at=Loc(path))
    assert str(error) == f"error[BadEnf]: {path}: {error.message}"
