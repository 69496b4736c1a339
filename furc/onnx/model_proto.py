"""What a model as protobuf has it says of itself, and copies of it in which some of that is otherwise."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import onnx
from onnx import TensorProto, helper

from furc.isolated import Died, isolated
from furc.onnx.soundness import CHECK, NotValid
from isa.errors import QuantizeError, first_line

OWN_DOMAINS = ("", "ai.onnx")  # of ONNX's own operators
SMALL = 4096  # elements of a constant that shape inference may want to read
IR_VERSION = 8  # of what is written: since 4 initializers need not be inputs, and here they never are
PIXELS = "furc.pixels"  # metadata: how images became the inputs that it was calibrated on, see furc/data/noted.py


def opset_of(model: onnx.ModelProto) -> int:
    """The version of ONNX's own operators that a model is of; 0 where it names none."""
    return max((int(entry.version) for entry in model.opset_import if entry.domain in OWN_DOMAINS), default=0)


def input_infos(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """The graph inputs that are not also initializers."""
    constants = {i.name for i in model.graph.initializer}
    return [i for i in model.graph.input if i.name not in constants]


def infer_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with every shape that can be known without running it. Raises QuantizeError BadModel."""
    found = inferred(lightened(model))
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for ours, theirs in ((result.graph.value_info, found.value_info), (result.graph.output, found.output)):
        del ours[:]
        ours.extend(theirs)
    return result


def inferred(light: onnx.ModelProto) -> onnx.GraphProto:
    """The graph with what onnx infers, in a process of its own. Raises QuantizeError BadModel."""
    try:
        data = isolated(lambda: bytes(onnx.shape_inference.infer_shapes(light, data_prop=True).SerializeToString()))
    except (*NotValid, Died) as error:
        raise QuantizeError(
            "BadModel", f"shape inference refuses the model: {first_line(error)}", hint=CHECK
        ) from error
    return onnx.ModelProto.FromString(data).graph


def lightened(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose large weights are inputs: what looks at types and shapes alone need not copy them about."""
    light = without_graph(model)
    light.graph.name = model.graph.name or "graph"
    light.graph.node.extend(model.graph.node)
    light.graph.value_info.extend(model.graph.value_info)
    light.graph.output.extend(model.graph.output)
    initializers = {i.name for i in model.graph.initializer}
    light.graph.input.extend(i for i in model.graph.input if i.name not in initializers)
    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) <= SMALL:
            light.graph.initializer.append(tensor)
        else:
            light.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    light.graph.sparse_initializer.extend(model.graph.sparse_initializer)
    return light


def fixed_batch(
    model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]], batch: int | None
) -> dict[str, tuple[int, ...]]:
    """shapes, and those of inputs of which only the first axis is open: that becomes batch. None: nothing is added."""
    result = dict(shapes)
    for info in input_infos(model) if batch is not None else []:
        dims = info.type.tensor_type.shape.dim
        known = [int(d.dim_value) for d in dims if d.HasField("dim_value")]
        if info.name not in result and dims and not dims[0].HasField("dim_value") and len(known) == len(dims) - 1:
            result[info.name] = (batch or 1, *known)
    return result


def fixed_inputs(model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]]) -> onnx.ModelProto:
    """A copy whose graph inputs have these shapes; all shapes that followed from others are forgotten."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    for info in fixed.graph.input:
        if info.name in shapes:
            dims = [helper.make_tensor_value_info("", TensorProto.FLOAT, list(shapes[info.name]))]
            info.type.tensor_type.shape.CopyFrom(dims[0].type.tensor_type.shape)
    for info in fixed.graph.output:
        info.type.tensor_type.ClearField("shape")
    del fixed.graph.value_info[:]
    return fixed


def without_graph(model: onnx.ModelProto) -> onnx.ModelProto:
    """All that a model is but its graph."""
    head = onnx.ModelProto()
    for name in ("ir_version", "producer_name", "producer_version", "domain", "model_version", "doc_string"):
        if model.HasField(name):
            setattr(head, name, getattr(model, name))
    head.ir_version = max(head.ir_version, IR_VERSION)
    head.opset_import.extend(model.opset_import)
    head.metadata_props.extend(model.metadata_props)
    head.functions.extend(model.functions)
    return head


def noted_pixels(model: onnx.ModelProto) -> str:
    """What a model notes of the images that it was calibrated on; "" where it does not."""
    return next((str(entry.value) for entry in model.metadata_props if entry.key == PIXELS), "")


def captured(proto: onnx.NodeProto) -> list[str]:
    """Outer tensors that the bodies of If, Loop and Scan read."""
    return read_inside(proto.attribute)


def read_inside(attributes: Iterable[onnx.AttributeProto]) -> list[str]:
    """The same of the attributes of a node."""
    bodies = [body for a in attributes for body in ([a.g] if a.type == onnx.AttributeProto.GRAPH else a.graphs)]
    return list(dict.fromkeys(name for body in bodies for name in _free_names(body)))


def _free_names(body: onnx.GraphProto) -> list[str]:
    """What a body reads and does not make itself."""
    own = {t.name for t in (*body.input, *body.initializer)} | {name for node in body.node for name in node.output}
    read = [name for node in body.node for name in (*node.input, *captured(node))] + [o.name for o in body.output]
    return [name for name in read if name and name not in own]
