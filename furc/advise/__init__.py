"""What to change in a model so that it runs faster or keeps more accuracy: proposals, each compiled and measured."""

from furc.advise.advice import Advice, advise
from furc.advise.applying import Applied, applied
from furc.advise.proposal import Accuracy, Change, Considered, Draft, Figures, Proposal

__all__ = [
    "Accuracy",
    "Advice",
    "Applied",
    "Change",
    "Considered",
    "Draft",
    "Figures",
    "Proposal",
    "advise",
    "applied",
]
