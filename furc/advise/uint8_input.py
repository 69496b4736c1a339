"""Feed bytes: the host then need not quantize floats, which is most of what it does for an image."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import TensorProto

from furc.advise.proposal import Change, Draft, Figures
from furc.advise.subject import Subject
from furc.advise.surgery import signed
from furc.onnx.model_proto import input_infos
from furc.quantizer import ModelEditor, TensorType

KIND = "uint8_input"


def drafts(subject: Subject, base: Figures | None) -> Iterator[Draft]:
    floats = [i.name for i in input_infos(subject.model) if i.type.tensor_type.elem_type == TensorProto.FLOAT]
    if not floats:
        return
    names = ", ".join(f"'{name}'" for name in floats)
    why = (
        f"the host quantizes {names} from float32 in every run; as uint8 the caller hands over what would be stored: "
        "where floats were pixels divided by 255, the pixels"
    )
    if subject.is_float:
        change = Change(input_dtype="uint8", how="furc quantize --input-type uint8, or --apply")
    else:
        change = Change(model=taking_bytes(subject.model, floats), how="--apply")
    yield Draft(kind=KIND, title=f"feed {names} as uint8", why=why, change=change)


def taking_bytes(model: onnx.ModelProto, names: list[str] | None = None) -> onnx.ModelProto:
    """A copy with uint8 inputs; of a float model with a note that the quantizer carries out. Raises QuantizeError."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    editor = ModelEditor(copy)
    for info in input_infos(copy):
        if info.type.tensor_type.elem_type == TensorProto.FLOAT and (names is None or info.name in names):
            editor.convert_input_type(info.name, TensorType.UINT8)
    return signed(editor.model)
