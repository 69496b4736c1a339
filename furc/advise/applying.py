"""Carry out a proposal on the model: the changed model, and small models of what was cut off."""

from __future__ import annotations

from typing import NamedTuple

import onnx

from furc.advise.advice import Advice
from furc.advise.proposal import Change, Proposal
from furc.advise.uint8_input import taking_bytes
from furc.onnx.files import Source, load
from furc.onnx.half import in_single
from isa.errors import ConfigError, Loc, counted

SHOWN = 3  # proposals in a hint


class Applied(NamedTuple):
    """model: the changed one. before, rest: what was cut off, to run in front of it and behind it."""

    proposal: Proposal
    model: onnx.ModelProto
    before: onnx.ModelProto | None
    rest: onnx.ModelProto | None


def applied(advice: Advice, number: int | None = None) -> Applied:
    """A proposal by its number, from 1 on; by default the best that changes the model.

    Raises ConfigError UnknownProposal, NothingToApply.
    """
    proposal = _chosen(advice, number)
    change = proposal.change
    return Applied(proposal, _model(advice.source, change), change.before, change.rest)


def _chosen(advice: Advice, number: int | None) -> Proposal:
    at = Loc(advice.source)
    changing = [i for i, proposal in enumerate(advice.proposals, 1) if proposal.change.changes_model]
    numbers = ", ".join(map(str, changing))
    hint = f"--proposal N, of those that change the model: {numbers}"
    if not changing:
        hows = (f"{number} is {proposal.change.how}" for number, proposal in enumerate(advice.proposals[:SHOWN], 1))
        hint = (
            f"proposals are options of furc compile: {', '.join(hows)}" if advice.proposals else "compile it as it is"
        )
    if number is not None and not 1 <= number <= len(advice.proposals):
        what = f"no proposal {number}, {counted(len(advice.proposals), 'proposal')} found"
        raise ConfigError("UnknownProposal", what, at=at, hint=hint)
    if number is None and not changing:
        what = "no proposal changes the model" if advice.proposals else "nothing that was tried pays"
        raise ConfigError("NothingToApply", what, at=at, hint=hint)
    chosen = advice.proposals[(number or changing[0]) - 1]
    if not chosen.change.changes_model:
        what = f"proposal {number} does not change the model: it is {chosen.change.how}"
        raise ConfigError("NothingToApply", what, at=at, hint=hint)
    return chosen


def _model(source: Source, change: Change) -> onnx.ModelProto:
    model = in_single(load(source)) if change.model is None else change.model
    return model if change.input_dtype == "float32" else taking_bytes(model)
