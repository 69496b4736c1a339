"""The order of axes of an input: a Transpose in front of the first layer, in the model or by permute_input."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from furc.advise.proposal import Change, Draft, Figures
from furc.advise.subject import Subject
from furc.advise.surgery import halves
from furc.compiler_config import compiler_config

KIND = "permute_input"


def drafts(subject: Subject, base: Figures | None) -> Iterator[Draft]:
    asked, graph = subject.request, subject.graph
    if any(compiler_config(asked.settings).permute_input):
        settings = {key: value for key, value in asked.settings.items() if key != KIND}
        change = Change(request=replace(asked, settings=settings), how=f"without -c {KIND}")
        why = "the NPU permutes the input in every run"
        yield Draft(kind=KIND, title="give the input in the model's own order of axes", why=why, change=change)
    for name in graph.inputs:
        readers = graph.readers(name)
        if len(readers) != 1 or readers[0].op != "Transpose" or name in graph.outputs:
            continue
        node, order = readers[0], list(readers[0].get("perm") or range(graph.rank(name) or 1)[::-1])
        cut = halves(graph, {id(each) for each in graph.nodes if each is not node})
        if cut is not None:
            why = f"'{subject.name_of(node)}' permutes '{name}' by {order} on the NPU in every run"
            how = f"--apply; -c '{KIND}=[{order}]' gives the order of before back"
            change = Change(model=cut.second, before=cut.first, how=how)
            yield Draft(kind=KIND, title=f"take '{node.output}' as the input", why=why, change=change)
