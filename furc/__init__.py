"""furc: compile, quantize, run and profile networks for FuriosaAI's Warboy NPU, on a cycle-approximate model of it.

enf = furc.compile("model_int8.onnx", target_npu="warboy-2pe", batch_size=1)
outputs = furc.Session(enf).run({"images": array})
print(furc.profile(enf).latency_ms)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from furc import quantizer as quantizer
    from furc.compiler import compile as compile
    from furc.profiling.profile import profile as profile
    from furc.runtime.session import Session as Session
    from furc.version import __version__ as __version__
    from isa.enf import load as load

# Imported on first use: `furc --help` and programs that only read binaries need not wait for onnx and ONNX Runtime.
_PLACES = {
    "Session": "furc.runtime.session",
    "__version__": "furc.version",
    "compile": "furc.compiler",
    "load": "isa.enf",
    "profile": "furc.profiling.profile",
}
__all__ = ["Session", "__version__", "compile", "load", "profile", "quantizer"]


def __getattr__(name: str) -> object:
    if name == "quantizer":
        return import_module("furc.quantizer")
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'furc' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__
