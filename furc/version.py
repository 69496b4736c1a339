"""The version of furc, from the installed distribution."""

from __future__ import annotations

from importlib.metadata import version

__version__ = version("furc")
