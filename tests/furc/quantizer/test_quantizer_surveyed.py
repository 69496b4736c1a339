import numpy as np
from quantizer_models import images, residual

from furc.quantizer.judge import Task
from furc.quantizer.optimize import optimize_graph
from furc.quantizer.surveyed import surveyed


def test_data_that_the_model_cannot_be_run_on_gives_no_survey_and_a_reason() -> None:
    graph, said = optimize_graph(residual()), list[str]()
    wrong = [{name: value[:, :1] for name, value in feed.items()} for feed in images(4)]
    assert surveyed(graph, wrong, Task.AUTO, lambda what, done, total: said.append(what)) == {}
    assert len(said) == 1 and said[0].startswith("no survey, so no splits: ")


def test_a_survey_has_the_channels_of_every_tensor_that_rounds() -> None:
    graph = optimize_graph(residual())
    found = surveyed(graph, images(4), Task.AUTO, lambda what, done, total: None)
    assert found and all(np.isfinite(c.gain).all() and (c.low <= c.high).all() for c in found.values())
