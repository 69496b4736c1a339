"""What a compilation is asked for: one frozen record that every pass sees."""

from __future__ import annotations

from dataclasses import dataclass

from isa.npu import NpuConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileOptions:
    """npu: the machine to compile for. batch: images a run takes. use_program_loading: let the program exceed the
    instruction memory. strict: refuse operators on the host beyond quantize and dequantize."""

    npu: NpuConfig
    batch: int = 1
    use_program_loading: bool = False
    strict: bool = False
