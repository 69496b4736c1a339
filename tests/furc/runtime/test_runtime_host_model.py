"""Host steps of a file nobody vouches for: what furc writes passes; loops, files and sizes from nowhere do not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import furc
from furc.isolated import Worker
from furc.quantizer import QuantizeOptions, quantize_model, random_samples
from furc.runtime import host_model
from furc.runtime.host_model import Declared, check_host_model, check_host_models, with_shapes
from furc.zoo import digits
from isa.errors import EnfError

DECLARED = {"x": Declared("float32", 12, (3, 4)), "y": Declared("float32", 12)}


def segment(
    nodes: Sequence[onnx.NodeProto], constants: Sequence[onnx.TensorProto] = (), shape: Sequence[int | str] = (3, 4)
) -> onnx.ModelProto:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, list(shape))
    graph = helper.make_graph(list(nodes), "g", [x], [y], list(constants))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def check(model: onnx.ModelProto) -> None:
    with Worker(with_shapes) as shapes:
        check_host_model(model.SerializeToString(), "head", DECLARED, shapes)


def refusal(model: onnx.ModelProto) -> str:
    with pytest.raises(EnfError) as caught:
        check(model)
    assert caught.value.name == "BadEnf" and caught.value.hint and "\n" not in caught.value.message
    start, _, rest = caught.value.message.partition(": ")
    assert start == "host step 'head'"
    return rest


def constant(name: str, *values: int) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(values, np.int64), name)


def outside(name: str) -> onnx.TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="secret.txt")
    return tensor


def body(*nodes: onnx.NodeProto) -> onnx.GraphProto:
    out = helper.make_tensor_value_info("inner", TensorProto.FLOAT, [4])
    return helper.make_graph(list(nodes), "body", [], [out])


def valued(name: str, tensor: onnx.TensorProto) -> onnx.NodeProto:
    node = helper.make_node("Constant", [], [name], name="the_constant")
    node.attribute.add(name="value", type=onnx.AttributeProto.TENSOR).t.CopyFrom(tensor)
    return node


@pytest.mark.parametrize("dtype", ["float32", "uint8", "int8"])
@pytest.mark.parametrize("batch", [1, 4])
def test_what_furc_writes_passes(dtype: str, batch: int) -> None:
    options = QuantizeOptions(method="MIN_MAX_ASYM", input_dtype=dtype)  # type: ignore[arg-type]
    model = quantize_model(digits.model(), random_samples(digits.model(), 1), options)
    check_host_models(furc.compile(model, batch_size=batch))


def test_a_loop_is_refused() -> None:
    trips = helper.make_node("Loop", ["trips", "", "x"], ["y"], name="forever", body=body())
    assert refusal(segment([trips], [constant("trips", 1 << 62)])).startswith("node 'forever': a host step has no ")


@pytest.mark.parametrize("op", ["Loop", "Scan", "SequenceMap", "SplitToSequence", "RandomNormal", "Multinomial"])
def test_operators_that_furc_does_not_write_are_refused(op: str) -> None:
    assert f"operator '{op}'" in refusal(segment([helper.make_node(op, ["x"], ["y"])]))


def test_operators_of_another_domain_are_refused() -> None:
    assert "operator 'Relu'" in refusal(segment([helper.make_node("Relu", ["x"], ["y"], domain="com.microsoft")]))


def test_a_graph_in_an_attribute_is_refused() -> None:
    node = helper.make_node("Relu", ["x"], ["y"], name="n", body=body())
    assert refusal(segment([node])) == "node 'n': its attribute 'body' holds a graph"


def test_a_function_is_refused() -> None:
    model = segment([helper.make_node("Relu", ["x"], ["y"])])
    model.functions.add(name="Relu", domain="")
    assert refusal(model) == "it defines the function 'Relu'"


class TestFiles:
    def test_of_an_initializer(self) -> None:
        model = segment([helper.make_node("Mul", ["x", "k"], ["y"])], [outside("k")])
        assert refusal(model) == "initializer 'k': it takes constants from other files"

    def test_of_a_constant_node(self) -> None:
        model = segment([valued("k", outside("k")), helper.make_node("Mul", ["x", "k"], ["y"])])
        assert refusal(model) == "node 'the_constant': attribute 'value': it takes constants from other files"

    def test_of_a_tensor_that_only_names_a_place(self) -> None:
        tensor = outside("k")
        tensor.data_location = TensorProto.DEFAULT
        tensor.raw_data = bytes(16)
        assert "other files" in refusal(segment([helper.make_node("Mul", ["x", "k"], ["y"])], [tensor]))


class TestSizes:
    def test_a_tensor_larger_than_the_edges_explain(self) -> None:
        nodes = [helper.make_node("Tile", ["x", "by"], ["t"]), helper.make_node("Slice", ["t", "a", "b"], ["y"])]
        many = [constant("by", 1 << 14, 1 << 14), constant("a", 0, 0), constant("b", 3, 4)]
        assert refusal(segment(nodes, many)).endswith("more than its inputs and outputs explain")

    @pytest.mark.parametrize("at_once", [False, True])
    def test_of_many_layers_counts_what_is_held_at_once(self, at_once: bool) -> None:
        """A long step makes far more than its edges explain, and holds two of its tensors at any time."""
        steps = [helper.make_node("Erf", [f"t{i}"], [f"t{i + 1}"]) for i in range(16)]
        held = [f"t{i}" for i in range(17)] if at_once else ["t16"]
        nodes = [
            helper.make_node("Tile", ["x", "by"], ["t0"]), *steps,
            helper.make_node("Sum", held, ["sum"]), helper.make_node("Slice", ["sum", "a", "b"], ["y"]),
        ]  # fmt: skip
        model = segment(nodes, [constant("by", 1 << 8, 1 << 6), constant("a", 0, 0), constant("b", 3, 4)])
        if at_once:
            assert refusal(model).endswith(" elements at once more than its inputs and outputs explain")
        else:
            check(model)

    def test_of_a_step_without_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(host_model, "LONGEST", 30)
        nodes = [helper.make_node("Erf", ["x"], ["a"]), helper.make_node("Erf", ["a"], ["b"])]
        check(segment([*nodes[:1], helper.make_node("Erf", ["a"], ["y"])]))
        assert (
            refusal(segment([*nodes, helper.make_node("Erf", ["b"], ["y"])]))
            == "its nodes make 36 elements, more than 30"
        )

    def test_a_size_that_is_computed(self) -> None:
        nodes = [
            helper.make_node("ReduceSum", ["x", "axis"], ["sums"], keepdims=0),
            helper.make_node("Cast", ["sums"], ["by"], to=TensorProto.INT64),
            helper.make_node("Tile", ["x", "by"], ["t"], name="grow"),
            helper.make_node("Slice", ["t", "a", "b"], ["u"]),
            helper.make_node("Reshape", ["u", "as"], ["y"]),
        ]
        ends = [constant("axis", 0), constant("a", 0, 0), constant("b", 3, 4), constant("as", 3, 4)]
        assert refusal(segment(nodes, ends)).startswith("node 'grow': nothing tells the size of 't'")

    def test_a_size_in_a_body(self) -> None:
        nodes = [
            helper.make_node("ConstantOfShape", ["s"], ["big"], name="grow"),
            helper.make_node("ReduceSum", ["big"], ["inner"], keepdims=0),
        ]
        inner = helper.make_graph(nodes, "body", [], [helper.make_tensor_value_info("inner", TensorProto.FLOAT, [])])
        branches = helper.make_node("If", ["which"], ["f"], then_branch=inner, else_branch=inner)
        model = segment(
            [branches, helper.make_node("Add", ["x", "f"], ["y"])],
            [constant("s", 1 << 31), numpy_helper.from_array(np.array(True), "which")],
        )
        wrong = refusal(model)
        assert wrong.endswith("more than its inputs and outputs explain") or wrong.startswith("node 'grow': ")

    def test_a_kernel_larger_than_what_it_slides_over(self) -> None:
        """ONNX Runtime walks over all of it, for minutes."""
        nodes = [
            helper.make_node("Unsqueeze", ["x", "axes"], ["wide"]),
            helper.make_node("AveragePool", ["wide"], ["p"], "pool", kernel_shape=[1 << 31, 3], auto_pad="SAME_UPPER"),
            helper.make_node("Reshape", ["p", "as"], ["y"]),
        ]
        wrong = refusal(segment(nodes, [constant("axes", 0, 1), constant("as", 3, 4)]))
        assert wrong == f"node 'pool': a kernel of {3 << 31} elements, more than it slides over"

    @pytest.mark.parametrize("shape", [["n", 4], [-1, 4]])
    def test_an_open_axis(self, shape: list[int | str]) -> None:
        assert (
            refusal(segment([helper.make_node("Relu", ["x"], ["y"])], shape=shape))
            == "input 'x' has no fixed shape and type"
        )

    def test_other_sizes_than_the_file_declares(self) -> None:
        wrong = refusal(segment([helper.make_node("Relu", ["x"], ["y"])], shape=[3, 5]))
        assert wrong == "input 'x' is float32[3, 5], the file says float32[3, 4]"

    def test_a_constant_that_does_not_fit_its_dimensions(self) -> None:
        tensor = constant("k", 1, 2)
        tensor.dims[:] = [1 << 20]
        assert refusal(segment([helper.make_node("Mul", ["x", "k"], ["y"])], [tensor])).startswith("initializer 'k': ")

    def test_shapes_that_contradict_each_other(self) -> None:
        nodes = [helper.make_node("Reshape", ["x", "s"], ["y"])]
        assert refusal(segment(nodes, [constant("s", 5, 5)])).startswith("its shapes cannot be told: ")


class TestDivisions:
    """Of integers, by zero: they end the process."""

    NODES = (
        helper.make_node("Cast", ["x"], ["i"], to=TensorProto.INT64),
        helper.make_node("Div", ["i", "k"], ["j"], name="divides"),
        helper.make_node("Cast", ["j"], ["y"], to=TensorProto.FLOAT),
    )

    @pytest.mark.parametrize("value", [0, -1])
    def test_by_a_constant(self, value: int) -> None:
        wrong = "node 'divides': Div of integers by what may be zero, or -1"
        assert refusal(segment(self.NODES, [constant("k", 1, 2, 3, value)])) == wrong
        assert refusal(segment([valued("k", constant("", 1, 2, 3, value)), *self.NODES])) == wrong

    def test_by_what_is_computed(self) -> None:
        nodes = [self.NODES[0], helper.make_node("Abs", ["i"], ["k"]), *self.NODES[1:]]
        assert refusal(segment(nodes)).startswith("node 'divides': ")

    def test_in_a_body(self) -> None:
        inner = body(helper.make_node("Mod", ["k", "k"], ["inner"], name="divides"))
        inner.output[0].type.tensor_type.elem_type = TensorProto.INT64
        inner.output[0].type.tensor_type.shape.dim[0].dim_value = 1
        nodes = [
            helper.make_node("If", ["which"], ["j"], then_branch=inner, else_branch=inner),
            helper.make_node("Cast", ["j"], ["f"], to=TensorProto.FLOAT),
            helper.make_node("Add", ["x", "f"], ["y"]),
        ]
        which = numpy_helper.from_array(np.array(True), "which")
        assert refusal(segment(nodes, [constant("k", 0), which])).startswith("node 'divides': ")

    def test_by_other_constants_and_of_floats(self) -> None:
        check(segment(self.NODES, [constant("k", 1, 2, 3, -4)]))
        floats = segment([helper.make_node("Div", ["x", "x"], ["y"])])
        check(floats)


@pytest.mark.parametrize("opset", [1, 99])
def test_an_opset_of_nowhere(opset: int) -> None:
    model = segment([helper.make_node("Relu", ["x"], ["y"])])
    model.opset_import[0].version = opset
    assert refusal(model) == f"opset {opset}, expected 10 to 23"
