"""What a user asks of the compiler, from any place that compiles."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from furc.compiler import check_batch, compile_options
from furc.compiler_config import compiler_config
from furc.frontend import load_onnx
from furc.frontend.onnx.hosted import Cause
from furc.frontend.onnx.input_form import InputForm
from furc.machine import DEFAULT_TARGET, machine
from furc.onnx.files import Source
from isa.npu import NpuConfig
from passes.ir.graph import Graph
from passes.options import CompileOptions

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Options of a compile, as `furc compile` has them. settings: compiler config keys.

    target_npu, npu_config, on: a target, or the TOML file of a what-if machine, or such a machine itself.
    batch: None for 1, or for what IR text has.
    input_shapes: of inputs that the model leaves open. strict: refuse operators on the host. cache: look there first.
    Raises ConfigError BadBatch.
    """

    target_npu: str | None = None
    npu_config: Path | None = None
    on: NpuConfig | None = None
    batch: int | None = None
    settings: Mapping[str, object] = field(default_factory=dict)
    input_shapes: Shapes = field(default_factory=dict)
    strict: bool = False
    cache: bool = True

    def __post_init__(self) -> None:
        if self.batch is not None:
            check_batch(self.batch)

    @property
    def open_batch(self) -> int | None:
        """What an open first axis becomes where the user named a batch: 1, and set-batch makes more of it."""
        return None if self.batch is None else 1

    def setting(self, key: str, value: object) -> Request:
        """The same with a key of the compiler config set."""
        return replace(self, settings={**self.settings, key: value})

    @property
    def what_if(self) -> NpuConfig | Path | None:
        """The what-if machine, or its file; None where it is a target."""
        return self.on if self.on is not None else self.npu_config

    def npu(self) -> NpuConfig:
        """The machine to compile for. Raises ConfigError."""
        return self.on if self.on is not None else machine(self.target_npu, self.npu_config)

    def load(self, model: Source, source: str = "", leave: Mapping[str, Cause] = MappingProxyType({})) -> Graph:
        """The dfg graph of a quantized ONNX model, as these options have it. source: its name. leave: nodes for the
        host.

        Raises FurcError."""
        config = compiler_config(self.settings)
        return load_onnx(
            model,
            input_shapes=self.input_shapes,
            source=source,
            batch=self.open_batch,
            npu=self.npu(),
            max_npu_segments=config.max_npu_segments,
            form=InputForm(config.permute_input, config.without_quantize),
            operator_set=config.operator_set,
            leave=leave,
        )

    def options(self, batch: int | None = None) -> CompileOptions:
        """What the passes see. batch: where the user said nothing. Raises ConfigError."""
        asked = self.batch or batch or 1
        options = compile_options(self.target_npu or DEFAULT_TARGET, asked, self.settings, self.npu())
        return replace(options, strict=self.strict)

    def identity(self) -> bytes:
        """Everything that decides what a model compiles to, but for the model."""
        values = {
            "batch": self.batch,
            "settings": {key: self.settings[key] for key in sorted(self.settings)},
            "input_shapes": sorted(self.input_shapes.items()),
            "strict": self.strict,
            "npu": asdict(self.npu()),
        }
        return json.dumps(values, sort_keys=True, default=str).encode()
