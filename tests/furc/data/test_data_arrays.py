"""Arrays from anywhere: numbers in this computer's order, and never more than was asked for."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from furc.data.arrays import npz_bytes, read_array, read_arrays
from furc.data.inputs import Input, random_inputs, read_inputs
from isa.errors import RunError, SourceError

IMAGE = Input("images", "float32", (1, 3, 8, 8))


def refused(path: Path, needed: int | None = None) -> SourceError:
    with pytest.raises(SourceError) as caught:
        read_array(path, "x", needed=needed)
    return caught.value


@pytest.mark.parametrize("kind", [">f4", ">i2", ">u8", "<f4", "i1"])
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_every_byte_order_becomes_this_computers(tmp_path: Path, kind: str, suffix: str) -> None:
    values, path = np.arange(12).reshape(3, 4).astype(kind), tmp_path / f"x{suffix}"
    np.save(path, values) if suffix == ".npy" else np.savez(path, x=values)
    found = read_array(path, "x")
    assert found.dtype.isnative and found.dtype == np.dtype(kind).newbyteorder("=") and np.array_equal(found, values)
    assert found.flags.writeable


def test_a_big_endian_file_runs(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random(IMAGE.shape, np.float32)
    np.save(tmp_path / "x.npy", values.astype(">f4"))
    [found] = read_inputs([IMAGE], {"images": tmp_path / "x.npy"}).values()
    assert found.dtype.str == np.dtype(np.float32).str and np.array_equal(found, values)


def test_columns_first(tmp_path: Path) -> None:
    values = np.asfortranarray(np.arange(12, dtype=np.float32).reshape(3, 4))
    np.save(tmp_path / "x.npy", values)
    assert np.array_equal(read_array(tmp_path / "x.npy", "x"), values)


@pytest.mark.parametrize(
    ("array", "told"),
    [
        (np.array([None]), "array 'x' holds Python objects, expected numbers"),
        (np.array(["a"]), "array 'x' holds text, expected numbers"),
        (np.array([b"a"]), "array 'x' holds text, expected numbers"),
        (np.array(["2020-01-01"], "M8[D]"), "array 'x' holds dates, expected numbers"),
        (np.zeros(2, [("a", np.int8)]), "array 'x' holds records, expected numbers"),
        (np.float32(3), "array 'x' is one number without axes"),
    ],
)
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_what_is_no_array_of_numbers_is_refused_by_name(
    tmp_path: Path, array: NDArray[np.generic], told: str, suffix: str
) -> None:
    path = tmp_path / f"x{suffix}"
    np.save(path, array) if suffix == ".npy" else np.savez(path, x=array)
    error = refused(path)
    assert (error.name, error.message) == ("BadArray", told)


def test_a_constant_may_be_one_number(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(npz_bytes({"x": np.array(3, np.int32)}))
    assert read_arrays(tmp_path / "x.npz")["x"] == 3


def bomb(path: Path, count: int, declared: int | None = None) -> Path:
    """An .npz whose one array is nothing but zeros, packed tightly."""
    start = io.BytesIO()
    np.lib.format.write_array_header_1_0(start, {"descr": "|u1", "fortran_order": False, "shape": (declared or count,)})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w", force_zip64=True) as f:
        f.write(start.getvalue())
        for _ in range(count >> 20):
            f.write(bytes(1 << 20))
    return path


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = bomb(tmp_path / "x.npz", 80 << 20)
    assert path.stat().st_size < 1 << 18
    error = refused(path, needed=1000)
    assert error.name == "ArrayTooLarge" and error.message.endswith("bytes, 1000 are needed")
    assert read_array(path, "x", needed=80 << 20).nbytes == 80 << 20


def test_a_bomb_is_refused_where_nobody_knows_what_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("furc.data.arrays.UNPACKED_BYTES", 1 << 20)
    path = bomb(tmp_path / "x.npz", 8 << 20)
    assert refused(path).name == "ArrayTooLarge"
    with pytest.raises(SourceError, match="unpacks to"):
        read_arrays(path)


def test_a_header_that_promises_more_than_the_file_has(tmp_path: Path) -> None:
    error = refused(bomb(tmp_path / "x.npz", 1 << 20, declared=2 << 20), needed=1 << 20)
    assert error.name == "BadArray" and "too short" in error.message
    assert refused(bomb(tmp_path / "y.npz", 1 << 20, declared=1 << 60), needed=1).name == "ArrayTooLarge"


def test_a_wrong_shape_is_told_by_its_shape_not_by_its_size(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((16, 3, 8, 8)))
    with pytest.raises(RunError, match=r"InputShape.*'images' is float64\[16, 3, 8, 8\]"):
        read_inputs([IMAGE], {"images": tmp_path / "x.npy"})


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"PK", b"PK\x05\x06" + bytes(18), b"\x93NUMPY\x01\x00\xff\xff"])
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_broken_files(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    assert refused(path).name in ("BadArray", "NoSuchArray")


def test_random_inputs_are_those_of_the_seed() -> None:
    bytes_ = Input("b", "uint8", (1000,))
    first, again = random_inputs([IMAGE, bytes_], 3), random_inputs([IMAGE, bytes_], 3)
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert first["images"].dtype == np.float32 and first["images"].min() >= 0 and first["images"].max() < 1
    assert {first["b"].min(), first["b"].max()} == {0, 255}
    assert not np.array_equal(first["b"], random_inputs([IMAGE, bytes_], 4)["b"])
