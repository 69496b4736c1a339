"""Sweeps: models on machines, batches and configurations, each point compiled and profiled."""

from furc.sweep.grid import Grid as Grid
from furc.sweep.rows import Row as Row
from furc.sweep.rows import Sweep as Sweep
from furc.sweep.run import sweep as sweep
