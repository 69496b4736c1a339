"""Many processes, killed ones, full disks, a cache that takes nothing, Ctrl-C: whole files or none, clear errors."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from isa import enf as enf_file
from isa import ort

ROOT = Path(__file__).resolve().parents[3]
SMALL_FILES = 2048  # bytes
PATIENCE = 600  # seconds: eight processes on a busy machine are no hang


def start(
    *words: object,
    cache: Path | str = "cache",
    limit: Callable[[], None] | None = None,
    stdout: object = subprocess.PIPE,
) -> subprocess.Popen[str]:
    environment = {**os.environ, "XDG_CACHE_HOME": str(Path(cache).absolute()), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "furc", *map(str, words)]
    process: subprocess.Popen[str] = subprocess.Popen(
        command, env=environment, stdout=stdout, stderr=subprocess.PIPE, text=True, preexec_fn=limit
    )  # type: ignore[call-overload]
    return process


def run(*words: object, exits: int = 0, **more: object) -> str:
    """stderr."""
    process = start(*words, **more)  # type: ignore[arg-type]
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == exits, said
    assert "Traceback" not in said and "internal error" not in said, said
    return said


def no_room() -> None:
    """Files end after some bytes, as on a disk that is full; Python ignores the signal that comes with it."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL_FILES, SMALL_FILES))


def entries(cache: str = "cache") -> list[Path]:
    return sorted(Path(cache).rglob("*.cached"))


def test_eight_processes_share_a_cache_while_some_are_killed(models: Path) -> None:
    run("compile", models / "int8.onnx", "-o", "wanted.enf", "--no-cache")
    wanted = Path("wanted.enf").read_bytes()
    for round in range(3):
        running = [start("compile", models / "int8.onnx", "-o", f"{i}.enf") for i in range(8)]
        for victim in range(0, 8, 2):
            time.sleep(0.15 * (round + 1))
            running[victim].kill()
        for i, process in enumerate(running):
            _, said = process.communicate(timeout=PATIENCE)
            assert process.returncode in (0, -signal.SIGKILL), said
            made = Path(f"{i}.enf")
            assert process.returncode or made.read_bytes() == wanted
            assert not made.exists() or made.read_bytes() == wanted
            made.unlink(missing_ok=True)
        run("compile", models / "int8.onnx", "-o", "after.enf")
        assert Path("after.enf").read_bytes() == wanted
        assert len(entries()) == 1


KILLED_WHILE_RENAMING = """
import os, signal
from pathlib import Path
from furc.cli.main import main

replace = Path.replace

def killed(path, target):
    if "PLACE" in target.name:
        os.kill(os.getpid(), signal.SIGKILL)
    return replace(path, target)

Path.replace = killed
main()
"""


@pytest.mark.parametrize(("place", "left"), [("cached", "cache/furc"), ("x.enf", ".")])
def test_the_next_writer_removes_what_a_killed_one_left(models: Path, place: str, left: str) -> None:
    environment = {**os.environ, "XDG_CACHE_HOME": str(Path("cache").absolute()), "PYTHONPATH": str(ROOT)}
    script = KILLED_WHILE_RENAMING.replace("PLACE", place)
    words = [sys.executable, "-c", script, "compile", str(models / "int8.onnx"), "-o", "x.enf"]
    assert subprocess.run(words, env=environment, check=False, capture_output=True).returncode == -signal.SIGKILL
    mine = Path(left) / f".x.enf.{os.getpid()}.01234567.unfinished"  # of a process that lives
    mine.write_bytes(b"half of it")
    assert len(list(Path(left).glob(".*.unfinished"))) == 2
    run("compile", models / "int8.onnx", "-o", "x.enf")
    assert list(Path(left).glob(".*.unfinished")) == [mine] and enf_file.load("x.enf").batch == 1


def test_a_damaged_entry_is_made_anew(models: Path) -> None:
    run("compile", models / "int8.onnx", "-o", "a.enf")
    [entry] = entries()
    entry.write_bytes(entry.read_bytes()[:-1])
    run("compile", models / "int8.onnx", "-o", "b.enf")
    assert Path("a.enf").read_bytes() == Path("b.enf").read_bytes()


class TestFullDisk:
    @pytest.mark.parametrize(
        "words",
        [
            ["compile", "int8.onnx", "-o", "x.enf", "--no-cache"],
            ["compile", "int8.onnx", "--target-ir", "lir", "-o", "x.lir", "--no-cache"],
            ["quantize", "float.onnx", "-o", "x.onnx", "--random", "1", "--method", "MIN_MAX_ASYM"],
            ["run", "model.enf", "--trace", "x.json"],
            ["litmus", "float.onnx", "--dump", "x"],
        ],
        ids=lambda words: f"{words[0]} {words[2]}",
    )
    def test_no_partial_output(self, models: Path, words: list[str]) -> None:
        source = models / words[1]
        said = run(words[0], source, *words[2:], exits=1, limit=no_room)
        assert "error[OutputUnwritable]: x" in said and "File too large" in said
        assert not [path for path in Path().iterdir() if path.name != "cache"]

    def test_a_cache_that_takes_nothing_changes_nothing(self, models: Path) -> None:
        """The binary goes to a device, which has room for everything."""
        run("compile", models / "int8.onnx", "-o", "/dev/null", limit=no_room)
        assert not [path for path in Path("cache/furc").rglob("*") if path.is_file()]

    def test_a_full_stdout_is_no_internal_error(self, models: Path) -> None:
        with open("/dev/full", "w") as full:
            said = run("disasm", models / "model.enf", exits=1, stdout=full)
        assert said.startswith("error[OutputUnwritable]: No space left on device\n  hint: ")


class TestCacheThatCannotBeWritten:
    def test_a_file_where_the_directory_should_be(self, models: Path) -> None:
        Path("taken").write_text("a file")
        run("compile", models / "int8.onnx", "-o", "x.enf", cache="taken")
        assert enf_file.load("x.enf").batch == 1 and Path("taken").read_text() == "a file"

    def test_a_place_where_nothing_can_be_made(self, models: Path) -> None:
        run("compile", models / "int8.onnx", "-o", "x.enf", cache="/proc")
        assert enf_file.load("x.enf").batch == 1

    @pytest.mark.skipif(os.geteuid() == 0, reason="root writes where it must not")
    def test_a_read_only_directory(self, models: Path) -> None:
        Path("cache").mkdir()
        Path("cache").chmod(0o500)
        run("compile", models / "int8.onnx", "-o", "x.enf")
        assert enf_file.load("x.enf").batch == 1 and not entries()


class TestControlC:
    @pytest.mark.parametrize(
        ("words", "phase"),
        [
            (["compile", "int8.onnx", "-o", "x.enf", "--no-cache", "-v"], "[1/6]"),
            (["compile", "int8.onnx", "-o", "x.enf", "--no-cache", "-v"], "[2/6]"),
            (["compile", "int8.onnx", "-o", "x.enf", "--no-cache", "-v"], "[4/6]"),
            (["compile", "int8.onnx", "-o", "x.enf", "--no-cache", "-v"], "[6/6]"),
            (["quantize", "float.onnx", "-o", "x.onnx", "--calibration-data", "images.npz"], "optimize"),
            (["quantize", "float.onnx", "-o", "x.onnx", "--calibration-data", "images.npz"], "equalize"),
            (["quantize", "float.onnx", "-o", "x.onnx", "--calibration-data", "images.npz"], "calibrate"),
            (["quantize", "float.onnx", "-o", "x.onnx", "--calibration-data", "images.npz"], "correct layers"),
            (["quantize", "float.onnx", "-o", "x.onnx", "--calibration-data", "images.npz"], "check the result"),
        ],
    )
    def test_in_a_phase(self, models: Path, words: list[str], phase: str) -> None:
        """Nothing is written, or it was just done; and nobody is asked to report a bug."""
        places = {"int8.onnx", "float.onnx", "images.npz"}
        process = start(*(models / word if word in places else word for word in words))
        assert process.stderr is not None
        said = ""
        while phase not in said:
            line = process.stderr.readline()
            assert line, said
            said += line
        process.send_signal(signal.SIGINT)
        said += process.communicate(timeout=PATIENCE)[1]
        assert "Traceback" not in said and "internal error" not in said, said
        left = [path.name for path in Path().iterdir() if path.name != "cache"]
        if process.returncode == 0:
            assert left == [words[3]]
        else:
            assert process.returncode == 1 and "Aborted!" in said and not left, (process.returncode, said, left)

    def test_between_two_files_that_belong_together(self) -> None:
        """It waits for the second: text would go with the constants of another model that were there."""
        script = "import os, pathlib, signal\nfrom furc.output import IR_TEXT, CONSTANTS, Outputs\n"
        script += "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's background jobs ignore it
        script += "replace = pathlib.Path.replace\n"
        script += "pathlib.Path.replace = lambda *files: (replace(*files), os.kill(os.getpid(), signal.SIGINT))[0]\n"
        script += "outputs = Outputs()\n"
        script += "for name, kind in (('m.dfg', IR_TEXT), ('m.dfg.npz', CONSTANTS)):\n"
        script += "    outputs.add(pathlib.Path(name), 'new', kind)\n"
        script += "try: outputs.write()\nexcept KeyboardInterrupt: print('interrupted')\n"
        with_furc = {**os.environ, "PYTHONPATH": str(ROOT)}
        for name in ("m.dfg", "m.dfg.npz"):
            Path(name).touch()
        done = subprocess.run([sys.executable, "-c", script], env=with_furc, capture_output=True, text=True)
        assert (done.stdout, done.stderr) == ("interrupted\n", "")
        assert [Path(name).read_text() for name in ("m.dfg", "m.dfg.npz")] == ["new", "new"]
        assert sorted(path.name for path in Path().iterdir()) == ["m.dfg", "m.dfg.npz"]


class TestClosedStreams:
    @pytest.mark.parametrize("words", [["info", "model.enf"], ["run", "model.enf"], ["--help"]], ids=" ".join)
    def test_nobody_reads_stdout(self, models: Path, words: list[str]) -> None:
        run(*(models / word if word == "model.enf" else word for word in words), limit=lambda: os.close(1))

    def test_no_stream_is_there(self, models: Path) -> None:
        """Nothing that a library prints goes into the files that are opened next."""
        run("compile", models / "int8.onnx", "-o", "x.enf", "--no-cache", limit=lambda: os.closerange(0, 3))
        assert Path("x.enf").read_bytes() == (models / "model.enf").read_bytes()

    def test_a_text_from_a_closed_stdin_is_empty(self) -> None:
        said = run("opt", "-", limit=lambda: os.close(0), exits=1)
        assert said.startswith("error[BadIrText]: -: 1:1: there is no text")

    @pytest.mark.parametrize("words", [["--help"], ["--version"], ["compile", "--help"]], ids=" ".join)
    def test_help_for_a_full_device(self, words: list[str]) -> None:
        with open("/dev/full", "w") as full:
            assert run(*words, exits=1, stdout=full).startswith("error[OutputUnwritable]: No space left on device")


@pytest.mark.parametrize("words", [["run", "model.enf"], ["quantize", "float.onnx", "-o", "x.onnx", "--random", "1"]])
def test_nothing_is_written_beside_outputs_and_furcs_own_cache(models: Path, words: list[str]) -> None:
    """ONNX Runtime left a device id and a database of events in the cache directory, and sent them."""
    given = ("model.enf", "float.onnx")
    command = [sys.executable, "-m", "furc", *(str(models / word) if word in given else word for word in words)]
    environment = {k: v for k, v in os.environ.items() if k not in ("CI", *ort.NO_TELEMETRY)}
    environment |= {"HOME": str(Path("home").absolute()), "XDG_CACHE_HOME": str(Path("cache").absolute())}
    result = subprocess.run(command, env={**environment, "PYTHONPATH": str(ROOT)}, capture_output=True, check=False)
    assert result.returncode == 0, result.stderr
    assert {path.name for path in Path().iterdir()} <= {"x.onnx", "cache"}
    assert {path.name for path in Path("cache").glob("*")} <= {"furc"}
