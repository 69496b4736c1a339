"""The networks that the onnx package ships, with weights that their files make: quantized, compiled and run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

import furc
from furc.data.samples import random_samples
from furc.onnx.run import RunModel
from furc.quantizer import QuantizeOptions, quantize_model

pytestmark = pytest.mark.fills_memory
FOLDER = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
NETWORKS = sorted(path.stem for path in FOLDER.glob("*.onnx"))
# Smaller images and fewer features between the last layers, by extent; AlexNet keeps weights larger than all of SRAM.
SMALLER = {
    "light_vgg19": {224: 64, 512 * 7 * 7: 512 * 2 * 2, 4096: 256},
    "light_zfnet512": {4096: 256},
}


def network(name: str) -> onnx.ModelProto:
    """Weights are made by ConstantOfShape: other shapes make a smaller network of the same operators."""
    model, extents = onnx.load(FOLDER / f"{name}.onnx"), SMALLER.get(name, {})
    for info in model.graph.input:
        for dim in info.type.tensor_type.shape.dim:
            dim.dim_value = extents.get(dim.dim_value, dim.dim_value)
    for shape in (i for i in model.graph.initializer if i.data_type == TensorProto.INT64):
        made = [extents.get(extent, extent) for extent in numpy_helper.to_array(shape).tolist()]
        shape.CopyFrom(numpy_helper.from_array(np.array(made, np.int64), shape.name))
    return model


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_a_light_network_goes_all_the_way(name: str) -> None:
    model = network(name)
    samples = random_samples(model, 2)
    plain = QuantizeOptions(method="MIN_MAX_ASYM", equalize=False, bias_correction=False)
    quantized = quantize_model(model, samples, plain)
    got = furc.Session(furc.compile(quantized)).run(samples[0])
    wanted = RunModel(quantized, plain=True)(samples[0])
    for output, array in wanted.items():
        assert got[output].shape == array.shape
        assert np.allclose(got[output], array, atol=0.02 * np.abs(array).max())
