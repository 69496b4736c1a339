"""A process that measures points until there are no more: python -m furc.sweep.worker, tasks in, results out, pickled.

Tasks are (file of the model, request). It ends with its input, hence with the
process that began it.
"""

from __future__ import annotations

import os
import pickle
import sys

from furc.cache import this_furc
from furc.garbage import collect_seldom
from furc.sweep.measure import READY, measure


def main() -> None:
    collect_seldom()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no answer
    pickle.dump((READY, this_furc()), answers)
    answers.flush()
    while True:
        try:
            model, request = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        pickle.dump(measure(model, request), answers)
        try:
            answers.flush()
        except BrokenPipeError:
            os._exit(0)  # nobody is there any more


if __name__ == "__main__":
    main()
