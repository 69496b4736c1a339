import numpy as np
from quantizer_models import images, model, node, residual, silent

from furc.quantizer.observe.judge import Task
from furc.quantizer.optimize import optimize_graph
from furc.quantizer.surveyed import surveyed


def test_a_model_that_cannot_be_probed_has_no_gains_and_a_reason() -> None:
    made, said = (
        model([node("Relu", ["x"], "r"), node("ReduceLogSum", ["r"], "y")], {"x": (1, 3, 12, 12)}, ["y"], {}),
        list[str](),
    )
    found = surveyed(optimize_graph(made), images(4), Task.AUTO, lambda what, done, total: said.append(what))
    assert found and not any(channels.gain.any() for channels in found.values())
    assert len(said) == 1 and said[0].startswith("no survey, so no splits: ")


def test_a_survey_has_the_channels_of_every_tensor_that_rounds() -> None:
    graph = optimize_graph(residual())
    found = surveyed(graph, images(4), Task.AUTO, silent)
    assert found and all(np.isfinite(c.gain).all() and (c.low <= c.high).all() for c in found.values())
