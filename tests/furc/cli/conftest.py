"""The digits model quantized and compiled once, for every test of commands; no test sees the user's cache."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result

from furc.cli.main import cli
from furc.runtime.session import Session
from furc.zoo import digits

Furc = Callable[..., Result]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory: float.onnx, int8.onnx, uint8.onnx, images.npz, model.enf, model.dfg, model.s."""
    folder = tmp_path_factory.mktemp("models")
    onnx.save(digits.model(), folder / "float.onnx")
    images = digits.calibration_images()[:16]
    np.savez(folder / "images.npz", images=images)
    for name, kind in (("int8", "float32"), ("uint8", "uint8")):
        run_furc("quantize", folder / "float.onnx", "-o", folder / f"{name}.onnx", "--input-type", kind,
                 "--calibration-data", folder / "images.npz", "--method", "MIN_MAX_ASYM")  # fmt: skip
    run_furc("compile", folder / "int8.onnx", "-o", folder / "model.enf", "--no-cache")
    run_furc("compile", folder / "int8.onnx", "--target-ir", "dfg", "-o", folder / "model.dfg")
    run_furc("disasm", folder / "model.enf", "-o", folder / "model.s")
    return folder


@pytest.fixture(autouse=True)
def own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs and the cache of a test are its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def furc() -> Furc:
    """Run a command line that must succeed, or end with the exit code `exits`."""
    return run_furc


@pytest.fixture
def fed(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What reaches the session."""
    seen: list[dict[str, Any]] = []
    run = Session.run

    def watched(self: Any, inputs: Any) -> Any:
        seen.append(dict(inputs))
        return run(self, inputs)

    monkeypatch.setattr(Session, "run", watched)
    return seen


def run_furc(*words: object, exits: int = 0, stdin: str | None = None) -> Result:
    result = CliRunner().invoke(cli, [str(word) for word in words], input=stdin, prog_name="furc")
    assert result.exit_code == exits, result.stderr
    return result
