"""The entry points of the frontend."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from furc.frontend.onnx.hosted import Cause
from furc.frontend.onnx.input_form import InputForm
from furc.frontend.onnx.model import read_model
from furc.frontend.onnx.placing import Placing
from furc.frontend.onnx.walks import import_model
from furc.machine import DEFAULT_TARGET
from furc.onnx.files import Source
from isa.npu import NpuConfig, target
from passes.dfg.legality import OperatorSet
from passes.ir.graph import Graph


def load_onnx(
    path_or_model: Source,
    *,
    input_shapes: Mapping[str, tuple[int, ...]] | None = None,
    source: str = "",
    batch: int | None = None,
    npu: NpuConfig | None = None,
    max_npu_segments: int | str = 1,
    form: InputForm = InputForm(),
    operator_set: str = OperatorSet.SEED28,
    leave: Mapping[str, Cause] = MappingProxyType({}),
) -> Graph:
    """The dfg graph of a quantized ONNX model: a file, its bytes, or a loaded model.

    input_shapes: what dynamic axes become. batch: what an open first axis becomes. source: the name messages use, by
    default the path. form: of the inputs, where it is not the model's own. npu, max_npu_segments: what placement on NPU
    or host goes by, where the NPU cannot take everything. operator_set: which list of operators the NPU takes. leave:
    nodes for the host, by name, each with its reason. Raises SourceError where the model cannot be read, LowerError
    where it does not fit the NPU."""
    placing = Placing(npu if npu is not None else target(DEFAULT_TARGET), max_npu_segments)
    model = read_model(path_or_model, input_shapes or {}, source, batch, form)
    return import_model(model, placing, operator_set, leave)
