"""The ONNX graph that a TFLite model grows into, and which of its tensors are there in which order of axes.

TFLite's images are n, h, w, c; ONNX's and the machine's are n, c, h, w. A tensor is made in the order that suits who
makes it and turned, once, where someone asks for the other: so Transposes stand where the model's edge or its own
reshapes need them, and nowhere else. Tensors of 8 bits are in QDQ form: what an operator makes is quantized at once.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, shape_inference

from furc.tflite.model import EXPORT, FIXED, Array, Model, Operator, Tensor
from isa.errors import Loc, LowerError, SourceError, counted

OPSET, IR_VERSION = 14, 8
OPSETS = [helper.make_opsetid("", OPSET)]
TO_IMAGE, TO_PLAIN = (0, 3, 1, 2), (0, 2, 3, 1)
QDQ = ("QuantizeLinear", "DequantizeLinear")
AROUND = (*QDQ, "Transpose", "Reshape", "Concat", "Resize", "Slice", "Identity", "Flatten")  # what stands around others
TYPES = {
    np.dtype(np.float32): TensorProto.FLOAT,
    np.dtype(np.uint8): TensorProto.UINT8,
    np.dtype(np.int8): TensorProto.INT8,
    np.dtype(np.bool_): TensorProto.BOOL,
}
REAL = (np.dtype(np.float32), np.dtype(np.bool_))  # what ONNX has as the file has it


class Writer:
    """plain, image: the ONNX names of a tensor's real values, in TFLite's order of axes and as n, c, h, w.

    images: the tensors that are wanted as n, c, h, w."""

    def __init__(self, model: Model, images: Set[int] = frozenset()) -> None:
        self.model, self.images = model, images
        self._tensors = list(model.tensors)  # as far as they are known: extents that the file leaves open are found
        self.makers = {output: operator for operator in model.operators for output in operator.outputs}
        self.places: dict[str, tuple[int, bool]] = {}  # of an ONNX tensor: which of the file it is; as n, c, h, w
        self._nodes: list[onnx.NodeProto] = []
        self._ops: dict[str, str] = {}  # what makes a tensor
        self._constants: dict[str, Array] = {}
        self._types: dict[str, onnx.TypeProto] = {}  # where the file leaves extents open
        self._open = any(tensor.open for tensor in model.tensors)
        self._plain: dict[int, str] = {}
        self._image: dict[int, str] = {}
        self._taken: set[str] = set()
        self._current = ""  # the operator that nodes are made for
        self._labels = {number: self._fresh(model.tensors[number].name) for number in (*model.inputs, *model.outputs)}
        for number in model.inputs:
            self._input(number)

    # what the families ask for

    def tensor(self, number: int) -> Tensor:
        """Raises LookupError where an operator leaves it out."""
        if number < 0:
            raise LookupError("an operand is left out")
        return self._tensors[number]

    def begin(self, operator: Operator) -> None:
        """Nodes from here on are made for this operator."""
        self._current = operator.name
        for number in operator.inputs:
            known = number < 0 or number in self._plain or number in self._image
            if not known and self.tensor(number).data is None:
                raise operator.invalid(f"nothing makes input '{self.tensor(number).name}'")
        for number in operator.outputs:
            if number in self._plain or number in self._image or self.tensor(number).data is not None:
                raise operator.invalid(f"'{self.tensor(number).name}' is made twice")

    def know(self, number: int, values: Array) -> None:
        """What an operator makes is the same in every run."""
        self._tensors[number] = replace(self.tensor(number), data=values, shape=values.shape, open=())

    def shape_of(self, number: int, elements: int) -> tuple[int, ...]:
        """Of a result of so many elements: the file's, the one extent found that it may leave open."""
        shape, unknown = list(self.tensor(number).shape), self.tensor(number).open
        if not unknown:
            return tuple(shape)
        others = math.prod(extent for axis, extent in enumerate(shape) if axis not in unknown)
        if len(unknown) > 1 or not others or elements % others:
            raise SourceError(
                "InvalidGraph", f"{counted(elements, 'element')} do not say what '{self.tensor(number).name}' is, of "
                f"which the file leaves {counted(len(unknown), 'axis', 'axes')} open",
                at=Loc(self.model.source, (self._current,)), hint=FIXED,
            )  # fmt: skip
        shape[unknown[0]] = elements // others
        return tuple(shape)

    def plain(self, number: int) -> str:
        """The real values in TFLite's order of axes."""
        if number not in self._plain:
            tensor = self.tensor(number)
            if number in self._image:
                turned = tuple(tensor.shape[axis] for axis in TO_IMAGE)
                self._plain[number] = self.turned(self._image[number], turned, TO_PLAIN)
            else:
                self._plain[number] = self._known(tensor, tensor.name, None)
        return self._plain[number]

    def image(self, number: int) -> str:
        """The real values of a tensor of four axes as n, c, h, w."""
        if number not in self._image:
            tensor = self.tensor(number)
            if tensor.rank != 4:
                raise LowerError(
                    "UnsupportedOperator", f"'{tensor.name}' is {list(tensor.shape)}, expected an image of four axes",
                    at=Loc(self.model.source, (self._current,)), hint="give it a batch of 1",
                )  # fmt: skip
            if number in self._plain:
                self._image[number] = self.turned(self._plain[number], tensor.shape, TO_IMAGE)
            else:
                self._image[number] = self._known(tensor, tensor.name, TO_IMAGE)
        return self._image[number]

    def is_image(self, number: int) -> bool:
        """It was made as n, c, h, w or will be wanted so, and whoever can should go on with that."""
        return number in self.images or (number in self._image and number not in self._plain)

    def emit(self, op: str, inputs: Sequence[str], label: str = "", **attributes: Any) -> str:
        """One node with one output, whose name is new."""
        output = self._fresh(label or f"{self._current}/{op}")
        node = helper.make_node(op, list(inputs), [output], name=self._current, **attributes)
        self._nodes.append(node)
        self._ops[output] = op
        if self._open:
            self._types |= self._inferred(node)
        return output

    def _inferred(self, node: onnx.NodeProto) -> dict[str, onnx.TypeProto]:
        """The type of what a node makes, as far as ONNX says it."""
        integers = [name for name in node.input if name in self._constants and self._constants[name].dtype == np.int64]
        known = {name: numpy_helper.from_array(self._constants[name]) for name in integers}  # sizes, axes, pads
        types = {name: self._types[name] for name in node.input if name in self._types}
        schema = onnx.defs.get_schema(node.op_type, OPSET)
        try:
            return dict(shape_inference.infer_node_outputs(schema, node, types, known, opset_imports=OPSETS,
                                                           ir_version=IR_VERSION))  # fmt: skip
        except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError, RuntimeError):
            return {}  # a contradiction, which checking the whole graph tells

    def turned(self, name: str, shape: Sequence[int], perm: Sequence[int]) -> str:
        """Axes in another order: for free where only axes of extent 1 move."""
        if list(perm) == sorted(perm):
            return name
        if (moving := [axis for axis in perm if shape[axis] != 1]) == sorted(moving):
            return self.reshaped(name, [shape[axis] for axis in perm])
        return self.emit("Transpose", [name], perm=list(perm))

    def reshaped(self, name: str, shape: Sequence[int]) -> str:
        return self.emit("Reshape", [name, self.constant("shape", np.array(shape, np.int64))])

    def on_grid(self, number: int, name: str) -> str:
        """What holds a tensor's elements, moved: quantized again, so that integer kernels find integers before them."""
        moved = self._ops.get(name, "DequantizeLinear") != "DequantizeLinear"
        return self._through_q(self.tensor(number), name) if moved and self.tensor(number).quantized else name

    def constant(self, label: str, array: Array) -> str:
        name = self._fresh(f"{self._current}/{label}")
        self._constants[name] = np.ascontiguousarray(array).reshape(np.shape(array))
        self._types[name] = helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        return name

    def stored(self, label: str, array: Array, scale: Array, zero: Array, axis: int | None) -> str:
        """The real values of a quantized constant. scale, zero: one, or one for each index of axis."""
        more: dict[str, Any] = {} if axis is None else {"axis": axis}
        shape = () if axis is None else (-1,)
        parameters = [scale.astype(np.float32).reshape(shape), zero.astype(array.dtype).reshape(shape)]
        names = [self.constant(f"{label}.{end}", a) for end, a in zip(("scale", "zero"), parameters, strict=True)]
        return self.emit("DequantizeLinear", [self.constant(label, array), *names], **more)

    def result(self, number: int, name: str, *, image: bool = False) -> None:
        """What an operator makes: the last node's output, or the name of what is there already."""
        tensor = self.tensor(number)
        if tensor.dtype not in TYPES:
            message = f"'{tensor.name}' is computed as {tensor.dtype}, the NPU computes in int8"
            raise LowerError("UnsupportedType", message, at=Loc(self.model.source, (self._current,)),
                             hint="convert the model to full-integer int8")  # fmt: skip
        if image and tensor.rank != 4:
            raise SourceError(
                "InvalidGraph", f"'{tensor.name}' is {list(tensor.shape)}, the operator makes an image of four axes",
                at=Loc(self.model.source, (self._current,)), hint=EXPORT,
            )  # fmt: skip
        if tensor.open:
            self._tensors[number] = tensor = replace(tensor, shape=self._extents(name, tensor, image), open=())
        last = self._nodes[-1] if self._nodes else None
        if last is not None and last.output[0] == name and name.startswith(self._current):
            fresh = self._fresh(f"{tensor.name}/real" if number in self._labels else tensor.name)
            self._ops[fresh] = self._ops.pop(name)
            if name in self._types:
                self._types[fresh] = self._types.pop(name)
            name = last.output[0] = fresh
        self.places[name] = (number, image)
        if number in self._labels:  # an int8 output of the graph has the model's own name
            self.places[self._labels[number]] = (number, False)
        made = name if tensor.dtype in REAL else self._through_q(tensor, name)
        (self._image if image else self._plain)[number] = made

    def _extents(self, name: str, tensor: Tensor, image: bool) -> tuple[int, ...]:
        """Of a result of which the file leaves some open, in TFLite's order."""
        dims = self._types[name].tensor_type.shape.dim if name in self._types else ()
        if len(dims) != tensor.rank or not all(dim.HasField("dim_value") for dim in dims):
            raise LowerError(
                "DynamicShape", f"the file leaves open how large '{tensor.name}' is, and what makes it does not say",
                at=Loc(self.model.source, (self._current,)), hint=FIXED,
            )  # fmt: skip
        found = [int(dim.dim_value) for dim in dims]
        return tuple(found[axis] for axis in TO_PLAIN) if image else tuple(found)

    def known(self, operator: Operator, index: int) -> Array:
        """The values of an input that must be constant."""
        if not operator.has_input(index):
            raise operator.invalid(f"it has no input {index}")
        tensor = self.tensor(operator.inputs[index])
        if tensor.data is None:
            raise operator.unsupported(
                f"input '{tensor.name}' of {operator.op} is computed, it must be constant",
                "fix the shapes and convert the model again",
            )
        return tensor.data

    def known_ints(self, operator: Operator, index: int) -> list[int]:
        return [int(v) for v in self.known(operator, index).reshape(-1)]

    # to and from ONNX

    def proto(self) -> onnx.ModelProto:
        """The model, with what no output needs left out."""
        for number in dict.fromkeys(self.model.outputs):
            self._output(number)
        live = {self._labels[number] for number in self.model.outputs}
        kept: list[onnx.NodeProto] = []
        for node in reversed(self._nodes):
            if live.intersection(node.output):
                kept.append(node)
                live.update(node.input)
        kept.reverse()
        _named_apart(kept)
        graph = helper.make_graph(
            kept, self.model.name or Path(self.model.source).stem or "model",
            [self._info(number) for number in dict.fromkeys(self.model.inputs)],
            [self._info(number) for number in dict.fromkeys(self.model.outputs)],
            [numpy_helper.from_array(array, name) for name, array in self._constants.items() if name in live],
        )  # fmt: skip
        return helper.make_model(graph, opset_imports=OPSETS, ir_version=IR_VERSION, producer_name="furc-tflite")

    def _info(self, number: int) -> onnx.ValueInfoProto:
        tensor = self.tensor(number)
        return helper.make_tensor_value_info(self._labels[number], TYPES[tensor.dtype], tensor.shape)

    def _input(self, number: int) -> None:
        tensor, label = self.tensor(number), self._labels[number]
        if tensor.dtype not in TYPES or tensor.dtype == np.bool_ or 0 in tensor.shape:
            at = Loc(self.model.source, detail=f"input '{tensor.name}'")
            message = f"it is {tensor.dtype} {list(tensor.shape)}, furc reads images of float32, uint8 and int8"
            raise LowerError("UnsupportedType", message, at=at, hint="convert the model with such an input")
        if tensor.open and (tensor.open != (0,) or tensor.rank < 2):  # a batch alone is one
            open_axes = ", ".join(map(str, tensor.open))
            at = Loc(self.model.source, detail=f"input '{tensor.name}'")
            message = f"the file leaves its {counted(len(tensor.open), 'axis', 'axes').split()[1]} {open_axes} open"
            raise SourceError("DynamicShape", message, at=at, hint=FIXED)
        self._current = f"input {tensor.name}"
        self._types[label] = helper.make_tensor_type_proto(TYPES[tensor.dtype], tensor.shape)
        self._plain[number] = self._dequantized(tensor, label) if tensor.dtype != np.float32 else label

    def _output(self, number: int) -> None:
        """Under the name and in the order that the model gives it."""
        tensor, label = self.tensor(number), self._labels[number]
        maker = self.makers.get(number)
        if maker is None or tensor.data is not None:
            at = Loc(self.model.source, detail=f"output '{tensor.name}'")
            hint = "remove this output: its value is known without running the model"
            raise LowerError("ConstantOutput", f"'{tensor.name}' does not depend on computation", at=at, hint=hint)
        self._current = maker.name
        name = self.plain(number)
        if tensor.dtype in REAL:
            self._nodes.append(helper.make_node("Identity", [name], [label], name=maker.name))
        else:
            self._nodes.append(
                helper.make_node("QuantizeLinear", [name, *self._grid(tensor)], [label], name=maker.name)
            )

    def _known(self, tensor: Tensor, label: str, perm: Sequence[int] | None) -> str:
        """A constant; its axes in another order."""
        assert tensor.data is not None
        if not tensor.quantized:
            real = tensor.real
            return self.constant(label, real.transpose(perm) if perm else real)
        array = tensor.data.transpose(perm) if perm else tensor.data
        axis = None if tensor.scale.size == 1 else tensor.axis if perm is None else list(perm).index(tensor.axis)
        return self.stored(label, array, tensor.scale, tensor.zero, axis)

    def _through_q(self, tensor: Tensor, name: str) -> str:
        quantized = self.emit("QuantizeLinear", [name, *self._grid(tensor)], f"{tensor.name}/quantized")
        return self._dequantized(tensor, quantized)

    def _dequantized(self, tensor: Tensor, name: str) -> str:
        return self.emit("DequantizeLinear", [name, *self._grid(tensor)], f"{tensor.name}/dequantized")

    def _grid(self, tensor: Tensor) -> list[str]:
        """Scale and zero point of an activation."""
        if tensor.scale.size != 1 or tensor.scale[0] <= 0:
            raise LowerError(
                "UnquantizedTensor", f"'{tensor.name}' is {tensor.dtype} with {counted(tensor.scale.size, 'scale')}, "
                "expected one above 0", at=Loc(self.model.source, (self._current,)),
                hint="convert the model as full-integer, with a representative dataset",
            )  # fmt: skip
        limits = np.iinfo(tensor.dtype)
        if not limits.min <= tensor.zero[0] <= limits.max:
            raise LowerError(
                "UnquantizedTensor", f"the zero point {tensor.zero[0]} of '{tensor.name}' is no {tensor.dtype}",
                at=Loc(self.model.source, (self._current,)), hint="convert the model again",
            )  # fmt: skip
        zero = np.array(tensor.zero[0], tensor.dtype)
        return [self.constant("scale", tensor.scale.reshape(())), self.constant("zero", zero)]

    def _fresh(self, name: str) -> str:
        """The name, or the name with a number where a tensor has it already."""
        candidate, number = name, 0
        while candidate in self._taken:
            number += 1
            candidate = f"{name}_{number}"
        self._taken.add(candidate)
        return candidate


def _named_apart(nodes: Sequence[onnx.NodeProto]) -> None:
    """ONNX Runtime wants names to differ: the node that is the operator keeps its name, those around it add theirs."""
    of_one: dict[str, list[onnx.NodeProto]] = {}
    for node in nodes:
        of_one.setdefault(node.name, []).append(node)
    for operator, made in of_one.items():
        own = [node for node in made if node.op_type not in QDQ]
        main = next((node for node in own if node.op_type not in AROUND), (own or made)[-1])
        seen: Counter[str] = Counter()
        for node in made:
            if node is not main:
                node.name = f"{operator}/{node.op_type}" + (f"_{seen[node.op_type]}" if seen[node.op_type] else "")
                seen[node.op_type] += 1
