"""The ENF container: what is written is read, the same content is the same bytes, and nothing else is accepted."""

from __future__ import annotations

import json
import os
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isa.enf import (
    DramTensor,
    Enf,
    HostOperator,
    HostStep,
    ModelTensor,
    NpuStep,
    Operator,
    Segment,
    Step,
    check_compatible,
    container,
    load,
    read,
    rules,
    save,
    write,
)
from isa.enf.file import file_format
from isa.errors import EnfError
from isa.layout import LayoutKind, Shape4
from isa.npu import NpuConfig, target

NPU: NpuConfig = target("warboy")
SHAPE = Shape4(1, 3, 4, 5)
QUANTIZE = HostOperator("Quantize", ("q",), "image", (1, 3, 4, 5), "float32", "feed uint8", 300, 0)
HEAD = HostStep("head", b"onnx head", 1, ("image",), ("image_q",), (QUANTIZE,))
TAIL = HostStep("tail", b"onnx tail..", 2, ("y_q",), ("größe",), ())
PROGRAM = NpuStep(
    inputs=(DramTensor("image_q", 256, LayoutKind.HCHWC, SHAPE),),
    outputs=(DramTensor("y_q", 320, LayoutKind.HCHCW, SHAPE),),
    segments=(Segment(64, 8, 0), Segment(128, 72, 131072)),
    operator_of=(0, 0, -1),
)
SMALL = Enf(
    model_name="digits",
    furc_version="0.1.0",
    target="warboy",
    fingerprint=NPU.fingerprint(),
    batch=1,
    inputs=(ModelTensor("image", "float32", (1, 3, 4, 5)),),
    outputs=(ModelTensor("größe", "float32", (1, 3, 4, 5)),),
    steps=(HEAD, PROGRAM, TAIL),
    image=bytes(range(200)),
    dram_bytes=380,
    sram_peak_bytes=4096,
    operators=(Operator("LowLevelConv2d", ("conv1", "relu1"), (1, 3, 4, 5)),),
)
DATA = write(SMALL)


def with_steps(*steps: Step) -> Enf:
    return replace(SMALL, steps=steps)


def with_program(**changes: object) -> Enf:
    return with_steps(HEAD, replace(PROGRAM, **changes), TAIL)  # type: ignore[arg-type]


ANY_JSON = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.lists(st.integers(-9, 9), max_size=5)
    | st.dictionaries(st.text(max_size=2), st.none())
)
_names = st.text(st.characters(codec="utf-8"), max_size=6)


@st.composite
def enfs(draw: st.DrawFn) -> Enf:
    """Valid models of any content."""
    image = draw(st.binary(min_size=64, max_size=300))
    name, inner, made, result = draw(st.lists(_names, min_size=4, max_size=4, unique=True))
    dtype = draw(st.sampled_from(["float32", "int8", "uint8"]))
    shape = draw(st.just(()) | st.tuples(st.integers(1, 9)))
    operators = draw(st.lists(st.builds(Operator, _names, st.tuples(_names), st.tuples(st.integers(0, 9))), max_size=3))

    def program(taken: DramTensor, *made: DramTensor) -> NpuStep:
        owners = tuple(draw(st.lists(st.integers(-1, len(operators) - 1), max_size=20)))
        return NpuStep((taken,), made, (Segment(0, 4 * draw(st.integers(1, len(image) // 4)), 0),), owners)

    return replace(
        SMALL,
        model_name=draw(_names),
        batch=draw(st.integers(1, 8)),
        pixels=draw(_names),
        inputs=(ModelTensor(name, dtype, shape),),
        outputs=(ModelTensor(result, "float32", ()),),
        steps=(
            replace(HEAD, inputs=(name,), outputs=(inner,), model=draw(st.binary(max_size=100))),
            program(DramTensor(inner, 320, LayoutKind.HCHWC, SHAPE)),
            program(DramTensor(name, 320, LayoutKind.HCHWC, SHAPE), DramTensor(made, 320, LayoutKind.HCHCW, SHAPE)),
            replace(TAIL, inputs=(inner, made), outputs=(result,), model=draw(st.binary(max_size=100))),
        ),
        image=image,
        operators=tuple(operators),
    )  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(enfs())
def test_reading_what_was_written_gives_it_back(enf: Enf) -> None:
    data = write(enf)
    assert read(data) == enf
    assert write(read(data)) == data


def test_the_same_content_is_the_same_bytes() -> None:
    assert write(replace(SMALL)) == DATA
    assert write(replace(SMALL, batch=2)) != DATA


def test_a_field_that_holds_its_default_is_left_out() -> None:
    assert b"pixels" not in DATA and b'"pixels":"--scale 1"' in write(replace(SMALL, pixels="--scale 1"))


def test_every_flipped_bit_is_refused() -> None:
    for bit in range(8 * len(DATA)):
        flipped = bytearray(DATA)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(EnfError) as caught:
            read(bytes(flipped))
        assert caught.value.name in ("NotAnEnf", "CorruptEnf", "TruncatedEnf"), bit
        assert "byte " in caught.value.at.detail and caught.value.hint


def test_every_truncation_is_refused() -> None:
    for size in range(len(DATA)):
        with pytest.raises(EnfError) as caught:
            read(DATA[:size])
        assert caught.value.name == ("TruncatedEnf" if size else "NotAnEnf"), size
    with pytest.raises(EnfError, match="CorruptEnf"):
        read(DATA + b"\0")


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400) | st.binary(max_size=400).map(lambda tail: b"FURCENF\0" + tail))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(EnfError):
        read(data)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_header_field_with_any_number_and_a_good_checksum_is_refused_or_the_same(data: st.DataObject) -> None:
    at = data.draw(st.sampled_from([8, 12, 16, 20, 24, 28, 32, *range(40, 136, 4)]))
    value = data.draw(st.integers(0, 2**32 - 1) | st.sampled_from([0, 1, len(DATA), 2**32 - 1, 2**31]))
    _refused_or_the_same(_resealed(DATA, at, struct.pack("<I", value)))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_metadata_with_any_byte_changed_and_good_checksums_is_an_enf_or_an_enf_error(data: st.DataObject) -> None:
    metadata = bytearray(_metadata(DATA))
    at = data.draw(st.integers(0, len(metadata) - 1))
    metadata[at] = data.draw(st.integers(0, 255) | st.sampled_from(list(b'0123456789-"[]{},:')))
    _refused_or_the_same(_with_metadata(bytes(metadata)))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_metadata_with_any_value_in_any_place_is_an_enf_or_an_enf_error(data: st.DataObject) -> None:
    plain = json.loads(_metadata(DATA))
    node = plain
    while True:
        key = data.draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
        if not isinstance(node[key], dict | list) or not node[key] or data.draw(st.booleans()):
            break
        node = node[key]
    node[key] = data.draw(ANY_JSON)
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    _refused_or_the_same(_with_metadata(text.encode("utf-8", "surrogatepass")))


def _refused_or_the_same(data: bytes) -> None:
    try:
        enf = read(data)
    except EnfError as error:
        assert str(error).startswith(f"error[{error.name}]: ") and len(str(error)) < 3000
    else:
        assert write(enf) == data


def _metadata(data: bytes) -> bytes:
    offset, length = struct.unpack_from("<QQ", data, 48)
    return data[offset : offset + length]


def _resealed(data: bytes, at: int, new: bytes) -> bytes:
    """The file with some bytes replaced and the checksum of the header made right again."""
    changed = bytearray(data)
    changed[at : at + len(new)] = new
    struct.pack_into("<I", changed, 36, 0)
    struct.pack_into("<I", changed, 36, zlib.crc32(changed[:136]))
    return bytes(changed)


def _with_metadata(metadata: bytes) -> bytes:
    """The file with other metadata, all lengths and checksums right: what a hostile writer would send."""
    form = file_format()
    sections = container.unpack(form, DATA)
    return container.pack(form, [metadata, *(section.data for section in sections[1:])])


@pytest.mark.parametrize(
    ("metadata", "what"),
    [
        (b"", "not JSON: "),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"batch":NaN}', "not JSON: NaN is not a number"),
        (b'{"batch":' + b"9" * 5000 + b"}", "not JSON: "),
        (b'{"batchh":1}', "top: unknown key 'batchh', near 'batch'"),
        (b'{"batch":1}', "top: no dram_bytes, "),
        (_metadata(DATA).replace(b',"sram_peak', b',"pixels":"","sram_peak'), "pixels: '' is left out"),
        (b"\xff", "not JSON: "),
        (b"[]", "top: expected an object, got a list"),
        (_metadata(DATA) + b" ", "not the canonical text of its content"),
        (_metadata(DATA).replace(b'"batch":1,', b'"batch":true,'), "batch: expected int, got True"),
        (_metadata(DATA).replace(b'"batch":1,', b'"batch":1,"batch":1,'), "not the canonical text"),
        (
            _metadata(DATA).replace(b':1,"shape":[1,3,4,5]', b':1,"shape":[1,3,4]'),
            "steps[1].inputs[0].shape: expected 4 numbers, got 3",
        ),
        (_metadata(DATA).replace(b'"kind":"NpuStep"', b'"kind":"Npu"'), "steps[1]: kind 'Npu' is not one of "),
        (_metadata(DATA).replace(b'"kind":"NpuStep"', b'"kind":["NpuStep"]'), "steps[1]: kind a list is not one of "),
        (_metadata(DATA).replace(b'"kind":"NpuStep",', b""), "steps[1]: kind None is not one of HostStep, NpuStep"),
        (_metadata(DATA).replace(b'"model":9', b'"model":99'), "steps[0].model: 99 bytes of section models"),
        (_metadata(DATA).replace(b'"model":9', b'"model":8'), "1 bytes of section models are nobody's"),
        (_metadata(DATA).replace(b'"model":9', b'"model":-1'), "steps[0].model: -1 bytes of section models"),
        (
            _metadata(DATA).replace(b'"operator_of":3', b'"operator_of":4'),
            "steps[1].operator_of: 16 bytes of section operator_of, which has 12 left",
        ),
        (_metadata(DATA).replace(b'"image":200', b'"image":"200"'), "image: expected int, got '200'"),
        (_metadata(DATA).replace(b'"order":1', b'"order":2'), "steps[1].inputs[0].order: 2 is not one of 0, 1"),
        (_metadata(DATA).replace("größe".encode(), b"\\ud800"), "not JSON: "),
    ],
)  # fmt: skip
def test_metadata_that_is_no_model_is_told_with_its_place(metadata: bytes, what: str) -> None:
    assert metadata != _metadata(DATA), "nothing was replaced"
    with pytest.raises(EnfError) as caught:
        read(_with_metadata(metadata))
    assert caught.value.name == "BadEnf" and caught.value.message.startswith(what)
    assert caught.value.at.detail == "section metadata, byte 192"


@pytest.mark.parametrize(
    ("broken", "what"),
    [
        (replace(SMALL, batch=0), "batch: 0 is less than 1"),
        (replace(SMALL, dram_bytes=199), "dram_bytes: 199 is outside 200 (the image).."),
        (replace(SMALL, dram_bytes=2**40), "dram_bytes: 1099511627776 is outside 200 (the image)..17179869184"),
        (replace(SMALL, sram_peak_bytes=-1), "sram_peak_bytes: -1 is negative"),
        (with_program(segments=()), "steps[1].segments: a program has at least one"),
        (with_program(segments=(Segment(128, 76, 0),)), "steps[1].segments[0]: bytes 128..204 are not an aligned part"),
        (with_program(segments=(Segment(32, 4, 0),)), "steps[1].segments[0]: bytes 32..36 are not an aligned part"),
        (with_program(segments=(Segment(64, 6, 0),)), "steps[1].segments[0]: 6 bytes are no whole instructions"),
        (
            with_program(segments=(Segment(64, 8, 2),)),
            "steps[1].segments[0]: offset 2 is not a place in instruction memory",
        ),
        (with_program(operator_of=(0, 1)), "steps[1].operator_of[1]: 1 is outside -1..0"),
        (with_program(operator_of=(-2,)), "steps[1].operator_of[0]: -2 is outside -1..0"),
        (replace(SMALL, inputs=SMALL.inputs * 2), "inputs: two tensors are called 'image'"),
        (
            replace(SMALL, inputs=(ModelTensor("image", "float64", (1,)),)),
            "inputs[0] 'image': dtype 'float64' is not one of float32, int8, uint8, int32, int64, bool",
        ),
        (
            replace(SMALL, inputs=(ModelTensor("image", "int8", (2**62,) * 33),)),
            "inputs[0] 'image': 33 axes, a tensor has at most 32",
        ),
        (
            replace(SMALL, inputs=(ModelTensor("image", "int8", (2**40, 1)),)),
            "inputs[0] 'image': no tensor has the shape (1099511627776, 1)",
        ),
        (
            with_program(inputs=(DramTensor("image_q", 260, LayoutKind.HCHWC, SHAPE),)),
            "steps[1].inputs[0] 'image_q': address 260 is not a multiple of 64",
        ),
        (
            with_program(inputs=(DramTensor("image_q", 192, LayoutKind.HCHWC, SHAPE),)),
            "steps[1].inputs[0] 'image_q': bytes 192..252 of DRAM are outside 200..380",
        ),
        (
            with_program(outputs=(DramTensor("y_q", 384, LayoutKind.HCHWC, SHAPE),)),
            "steps[1].outputs[0] 'y_q': bytes 384..444 of DRAM are outside 0..380",
        ),
        (
            with_program(outputs=(DramTensor("y_q", 0, LayoutKind.HCHWC, Shape4(33, 1, 1, 1)),)),
            "steps[1].outputs[0] 'y_q': no NPU tensor has the shape (33, 1, 1, 1)",
        ),
        (with_steps(HEAD, PROGRAM, replace(TAIL, inputs=("z",))), "steps[2].inputs: nothing makes 'z'"),
        (with_steps(PROGRAM, HEAD, TAIL), "steps[0].inputs: nothing makes 'image_q'"),
        (with_steps(HEAD, HEAD, PROGRAM, TAIL), "steps[1].outputs: 'image_q' is there already"),
        (with_steps(HEAD, PROGRAM), "outputs: nothing makes 'größe'"),
        (with_steps(replace(HEAD, images=0), PROGRAM, TAIL), "steps[0].images: 0 is less than 1"),
        (
            with_steps(replace(HEAD, operators=(replace(QUANTIZE, macs=-1),)), PROGRAM, TAIL),
            "steps[0].operators[0] 'Quantize': 300 bytes and -1 MACs; neither is negative",
        ),
    ],
)
def test_content_that_cannot_be_is_neither_written_nor_read(
    broken: Enf, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EnfError) as caught:
        write(broken)
    assert caught.value.name == "BadEnf" and caught.value.message.startswith(what)
    with monkeypatch.context() as patch:
        patch.setattr(rules, "broken_rules", lambda enf: [])
        data = write(broken)
    with pytest.raises(EnfError) as caught:
        read(data)
    assert caught.value.name == "BadEnf" and caught.value.message.startswith(what)


def test_several_broken_rules_are_told_at_once() -> None:
    with pytest.raises(EnfError) as caught:
        write(replace(SMALL, batch=0, sram_peak_bytes=-1))
    assert caught.value.message.startswith("batch: ") and caught.value.also == ("sram_peak_bytes: -1 is negative",)


def test_another_version_or_instruction_set_is_incompatible_not_corrupt() -> None:
    for at, new in ((8, struct.pack("<I", 1)), (8, struct.pack("<I", 3)), (24, bytes(8))):
        with pytest.raises(EnfError) as caught:
            read(_resealed(DATA, at, new))
        assert caught.value.name == "IncompatibleConfiguration"
        assert "this furc reads" in caught.value.message and "compile the model again" in caught.value.hint


def test_a_file_for_another_target_or_configuration_is_refused() -> None:
    check_compatible(SMALL, NPU)
    with pytest.raises(EnfError) as caught:
        check_compatible(SMALL, target("warboy-2pe"))
    assert str(caught.value).startswith(
        "error[IncompatibleConfiguration]: digits: the file is for warboy (configuration "
    )
    assert "--target-npu warboy-2pe" in caught.value.hint
    for what_if in (replace(NPU, name="half"), replace(target("warboy-2pe"), mac_width=64)):
        with pytest.raises(EnfError) as caught:
            check_compatible(SMALL, what_if)
        assert caught.value.hint == "compile the model again with this --npu-config, or run it on warboy"
    with pytest.raises(EnfError, match="IncompatibleConfiguration") as caught:
        check_compatible(SMALL, replace(NPU, mac_width=64))
    assert caught.value.hint.startswith("give the --npu-config that it was compiled with, or compile")


def test_a_file_that_claims_this_machine_but_does_not_fit_it_is_refused() -> None:
    for broken in (replace(SMALL, sram_peak_bytes=NPU.sram_bytes + 1), with_program(segments=(Segment(0, 8, 262140),))):
        with pytest.raises(EnfError, match="BadEnf"):
            check_compatible(broken, NPU)


def test_saving_and_loading_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.enf"
    save(SMALL, path)
    assert path.read_bytes() == DATA and load(path) == SMALL
    save(replace(SMALL, batch=3), path)
    assert load(path).batch == 3
    assert os.listdir(tmp_path) == ["a.enf"]


def test_a_model_that_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.enf"
    save(SMALL, path)
    with pytest.raises(EnfError, match="BadEnf"):
        save(replace(SMALL, batch=0), path)
    assert path.read_bytes() == DATA and os.listdir(tmp_path) == ["a.enf"]
    with pytest.raises(EnfError, match="EnfUnwritable"):
        save(SMALL, tmp_path / "missing" / "a.enf")
    with pytest.raises(EnfError, match="EnfUnwritable"):
        save(SMALL, tmp_path)


def test_saving_through_a_link_keeps_the_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("real.enf")
    save(SMALL, tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and load(tmp_path / "real.enf") == SMALL


@pytest.mark.parametrize(
    ("content", "name"),
    [(None, "EnfUnreadable"), (b"", "NotAnEnf"), (b"\x08\x07ONNX" * 100, "NotAnEnf"), (DATA[:50], "TruncatedEnf")],
)
def test_a_file_that_is_no_enf_is_named(content: bytes | None, name: str, tmp_path: Path) -> None:
    path = tmp_path / "model"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(EnfError) as caught:
        load(path)
    assert str(caught.value).startswith(f"error[{name}]: {path}: ") and caught.value.hint


def test_a_folder_or_a_pipe_is_no_enf(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(EnfError, match="EnfUnreadable"):
            load(path)


def test_a_huge_file_that_is_no_enf_is_refused_at_its_start(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with open(path, "wb") as file:
        file.write(DATA)
        file.truncate(1 << 40)
    with pytest.raises(EnfError, match="CorruptEnf"):
        load(path)
