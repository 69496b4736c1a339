"""How many candidates method "auto" may try, by a budget in float inferences of all samples.

A clock would make results differ from run to run, so costs are counted: an inference is its multiplications, and what
is done tensor by tensor, whatever their size, is so many multiplications a tensor. The constants are CPU time of
YOLOX-Nano, FastestDet, EfficientNet-Lite0, ResNet50 and YOLOv8n (`python -m benchmarks.quantizer.time`,
docs/accuracy.md), within two fifths of what was measured on idle cores.
"""

from __future__ import annotations

from dataclasses import dataclass

from furc.onnx.graph import Graph
from furc.onnx.work import macs
from furc.quantizer.ranges.weighted_calibration import seen_tensors

DEFAULT_INFERENCES = 5.0  # a sample: the pass over the data, the survey, correcting layers
DEFAULT_TENSOR_MACS = 7e8  # ranges, splits, correcting layers
SIMULATED_INFERENCES = 3.5  # of a held-back sample, in a trial
TRIAL_TENSOR_MACS = 3.5e8  # ranges of a trial


@dataclass(frozen=True, slots=True)
class Budget:
    """Of one quantization. inferences: what it may cost, in float inferences of all samples.

    sample_macs: multiplications of one sample. tensors: how many are looked at.
    """

    inferences: float
    samples: int
    sample_macs: int
    tensors: int

    @property
    def default(self) -> float:
        """What all but the trials costs."""
        return DEFAULT_INFERENCES + DEFAULT_TENSOR_MACS * self.tensors / self._unit

    def trial(self, held: int) -> float:
        """What one candidate costs, judged on so many samples."""
        simulated = SIMULATED_INFERENCES * held * self.sample_macs
        return (simulated + TRIAL_TENSOR_MACS * self.tensors) / self._unit

    def trials(self, held: int) -> int:
        """How many candidates it leaves room for."""
        return max(0, int((self.inferences - self.default) / self.trial(held)))

    @property
    def _unit(self) -> int:
        return max(1, self.samples * self.sample_macs)


def budget_of(graph: Graph, inferences: float, samples: int) -> Budget:
    """For a float graph and so many samples."""
    return Budget(inferences, samples, sum(macs(graph).values()), len(seen_tensors(graph)))
