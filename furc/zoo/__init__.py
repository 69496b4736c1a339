"""Graphs of published networks with seeded weights: for timing, code size and tests, never for accuracy."""

from furc.zoo.catalog import ModelCard, build, describe, names

__all__ = ["ModelCard", "build", "describe", "names"]
