"""Packages that only some commands need: imported when they are, and named where they are missing."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from isa.errors import ConfigError


def needed(module: str, extra: str, use: str) -> ModuleType:
    """A module of an optional package. extra: of furc, that brings it. use: what for. Raises ConfigError."""
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ConfigError(
            "MissingPackage", f"{use} needs {package}, which is not installed", hint=f"pip install 'furc[{extra}]'"
        ) from error
