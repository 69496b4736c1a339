"""Models with data in other files: read whole, wherever a tensor stands, from the model's folder and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from furc.onnx import files
from furc.onnx.soundness import walk
from furc.quantizer import optimize_model
from isa.errors import SourceError

VALUES = np.arange(4, dtype=np.float32)


def outside(name: str, location: str) -> TensorProto:
    """A tensor whose four numbers are in another file."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return tensor


def model(
    *nodes: onnx.NodeProto, initializers: Iterable[TensorProto] = (), inputs: Iterable[onnx.ValueInfoProto] = ()
) -> onnx.ModelProto:
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])
    graph = helper.make_graph(nodes, "g", list(inputs), [y], list(initializers))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def with_initializer(location: str = "w.bin") -> onnx.ModelProto:
    return model(helper.make_node("Identity", ["w"], ["y"]), initializers=[outside("w", location)])


def with_constant(location: str = "w.bin") -> onnx.ModelProto:
    return model(helper.make_node("Constant", [], ["y"], value=outside("w", location)))


def with_body(location: str = "w.bin") -> onnx.ModelProto:
    body = with_constant(location).graph
    condition = helper.make_tensor_value_info("c", TensorProto.BOOL, [])
    return model(helper.make_node("If", ["c"], ["y"], then_branch=body, else_branch=body), inputs=[condition])


def with_function(location: str = "w.bin") -> onnx.ModelProto:
    made = model(helper.make_node("F", [], ["y"], domain="d"))
    opsets = [helper.make_opsetid("", 13)]
    made.functions.append(helper.make_function("d", "F", [], ["y"], with_constant(location).graph.node, opsets))
    made.opset_import.append(helper.make_opsetid("d", 1))
    return made


@pytest.mark.parametrize("make", [with_initializer, with_constant, with_body, with_function])
def test_data_is_read_from_the_models_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[], onnx.ModelProto]
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "model" / "w.bin").write_bytes(VALUES.tobytes())
    (tmp_path / "elsewhere" / "w.bin").write_bytes(b"\xff" * 16)
    (tmp_path / "model" / "m.onnx").write_bytes(make().SerializeToString())
    monkeypatch.chdir(tmp_path / "elsewhere")
    loaded = files.load(tmp_path / "model" / "m.onnx")
    assert not list(files.outside(walk(loaded, "")))
    assert list(files.outside(walk(make(), ""))) and VALUES.tobytes() in loaded.SerializeToString()


@pytest.mark.parametrize("location", ["../w.bin", "/etc/passwd", "C:\\w.bin", "a/../../w.bin", ""])
def test_data_outside_the_folder_is_refused(tmp_path: Path, location: str) -> None:
    (tmp_path / "w.bin").write_bytes(VALUES.tobytes())
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "m.onnx").write_bytes(with_constant(location).SerializeToString())
    with pytest.raises(SourceError) as caught:
        files.load(folder / "m.onnx")
    assert caught.value.name == "ExternalDataUnreadable"


def test_data_that_is_missing_names_its_place(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(with_constant().SerializeToString())
    with pytest.raises(SourceError, match=r"its data is in 'w.bin', which is missing") as caught:
        files.load(tmp_path / "m.onnx")
    assert caught.value.name == "ExternalDataMissing" and "node 'Constant that makes y': attribute 'value'" in str(
        caught.value
    )


@pytest.mark.parametrize("make", [with_initializer, with_constant])
def test_a_model_in_memory_never_reads_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[], onnx.ModelProto]
) -> None:
    (tmp_path / "w.bin").write_bytes(VALUES.tobytes())
    monkeypatch.chdir(tmp_path)
    for given in (make(), make().SerializeToString()):
        with pytest.raises(SourceError) as caught:
            optimize_model(given)
        assert caught.value.name == "ExternalDataMissing"


def test_a_model_in_memory_is_copied() -> None:
    plain = with_constant()
    plain.graph.node[0].attribute[0].t.CopyFrom(numpy_helper.from_array(VALUES, "w"))
    loaded = files.load(plain)
    assert loaded == plain and loaded is not plain
