"""The registries of the compiler as text: its passes, the ops of the IR, the instructions of the machine."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator

from isa.errors import ConfigError
from isa.instructions import BY_MNEMONIC, TABLE
from passes.ir.op import REGISTRY, Level, Op, name_at, op_fields
from passes.pipeline import PASSES, STAGES


def passes_text(name: str | None = None) -> str:
    """The passes in the order they run, or the documentation of one. Raises ConfigError UnknownName."""
    if name is None:
        return "".join(f"{line}\n" for line in _passes())
    if name not in PASSES:
        raise _unknown(f"no pass '{name}', they are {', '.join(PASSES)}")
    return f"{name}\n\n{_documentation(PASSES[name].run)}\n"


def ops_text(level: str | None = None, name: str | None = None) -> str:
    """The ops with their operands and attributes: of a level or of all, or one op. Raises ConfigError UnknownName."""
    found = [(at, op) for (at, mnemonic), op in REGISTRY.items() if level in (None, at) and name in (None, mnemonic)]
    if not found:
        raise _unknown(f"no op '{name}' in {level}")
    text = ""
    for at in Level:
        of_level = [_op(op, at) for where, op in found if where is at]
        text += f"{at}\n\n" + "".join(f"{op}\n" for op in of_level) if of_level else ""
    return text


def instructions_text(mnemonic: str | None = None) -> str:
    """The instructions, or one: operands, their bits and defaults, what it does. Raises ConfigError UnknownName."""
    if mnemonic is None:
        return "".join(f"{s.mnemonic:<10} {s.unit:<8} {s.meaning.split('. ')[0].rstrip('.')}\n" for s in TABLE)
    if mnemonic not in BY_MNEMONIC:
        raise _unknown(f"no instruction '{mnemonic}', they are {', '.join(BY_MNEMONIC)}")
    spec = BY_MNEMONIC[mnemonic]
    lines = [f"{spec.mnemonic}: opcode 0x{spec.opcode:02x}, unit {spec.unit}", "", spec.meaning, ""]
    for operand in spec.operands:
        told = f" [default: {operand.default}]" if isinstance(operand.default, int) else ""
        bits = sum(field.bits for field in operand.fields())
        lines.append(f"  {operand.name:<8} {bits:>3} bits  {operand.meaning}{told}")
    return "\n".join(lines) + "\n"


def _passes() -> Iterator[str]:
    for stage in STAGES:
        yield f"{stage.source} to {stage.target}" if stage.source != stage.target else f"on {stage.source}"
        for each in stage.passes:
            yield f"  {each.name:<18} {each.doc}"


def _op(op: type[Op], level: Level) -> str:
    operands = [f.name if f.kind == "one" else f"{f.name}{'?' if f.kind == 'optional' else '...'}"
                for f in op_fields(op) if f.kind != "attribute"]  # fmt: skip
    attributes = [f.name for f in op_fields(op) if f.kind == "attribute"]
    braces = f" {{{', '.join(attributes)}}}" if attributes else ""
    return f"  {name_at(op, level)}({', '.join(operands)}){braces}\n    {inspect.cleandoc(op.__doc__ or '')}\n".replace(
        "\n\n", "\n"
    )


def _documentation(run: object) -> str:
    """The documentation of a pass: that of its module, for a pass is a file."""
    module = sys.modules[getattr(run, "__module__", "")]
    return inspect.cleandoc(module.__doc__ or "")


def _unknown(message: str) -> ConfigError:
    return ConfigError("UnknownName", message, hint="without a name, all are listed")
