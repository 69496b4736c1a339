"""What is known of images: a class, or objects with their boxes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from furc.data.images import find_images
from isa.errors import Loc, SourceError

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
LARGEST_FILE = 1 << 30  # bytes of labels; COCO's largest has half of it
SHOWN = 3  # names in a message
OFFSET = "correct the label, or let --label-offset N move all of them"
OBJECTS = "correct the label, or give the model that knows this class"


@dataclass(frozen=True, slots=True, eq=False)
class Objects:
    """The objects in an image. boxes: [n, 4], left, top, right, bottom in pixels; classes: [n]; crowd: regions in which
    detections of the class do not count; areas: in square pixels."""

    boxes: Float64
    classes: Int64
    crowd: NDArray[np.bool_]
    areas: Float64


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """An image file and the class of what it shows. name: what people call it."""

    name: str
    path: Path
    label: int


@dataclass(frozen=True, slots=True, eq=False)
class Annotated:
    """An image file and its objects. objects None: boxes in fractions of an image that is not read yet."""

    name: str
    path: Path
    objects: Objects


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """Images with what is known of them. classes: their names by index, empty where nobody gave any.

    left_out: images that have no label, or labels that have no image, by name."""

    images: tuple[Labelled, ...] | tuple[Annotated, ...]
    classes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    def first(self, limit: int | None) -> Truth:
        """The first so many images."""
        return Truth(self.images[:limit], self.classes, self.left_out)


def objects(boxes: Any, classes: Any, crowd: Any = None, areas: Any = None) -> Objects:
    """From lists. Areas are those of the boxes where nobody says otherwise."""
    corners = np.asarray(boxes, np.float64).reshape(-1, 4)
    sides = corners[:, 2:] - corners[:, :2]
    return Objects(
        corners,
        np.asarray(classes, np.int64).reshape(-1),
        np.zeros(len(corners), bool) if crowd is None else np.asarray(crowd, bool),
        sides[:, 0] * sides[:, 1] if areas is None else np.asarray(areas, np.float64),
    )


def images_below(folder: Path) -> list[Path]:
    """The images of a data folder. Raises SourceError NoImages, FolderUnreadable."""
    if not folder.is_dir():
        raise SourceError("NoImages", "there is no such directory", at=Loc(str(folder)), hint="give one with images")
    return find_images(folder)


def read_text(path: Path, wanted: str = "the file that says what the images show") -> str:
    """A file of labels. wanted: what it is, for the hint. Raises SourceError LabelsNotFound, BadLabels."""
    try:
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise bad(path, f"{size} bytes are more than labels take", "give a file of labels")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SourceError("LabelsNotFound", error.strerror or str(error), at=Loc(str(path)),
                          hint=f"give {wanted}") from error  # fmt: skip
    except UnicodeDecodeError as error:
        raise bad(path, "this is no UTF-8 text", "give a text file of labels") from error


def read_classes(path: Path) -> tuple[str, ...]:
    """Names of classes, one a line, the first is class 0. Raises SourceError LabelsNotFound, BadLabels."""
    lines = read_text(path, "a file with the name of a class on each line").splitlines()
    names = tuple(line.strip() for line in lines if line.strip())
    if not names:
        raise bad(path, "there are no classes in it", "one name a line, the first is class 0")
    return names


def complete(
    missing: Sequence[str], unlabelled: Sequence[str], labels: Path, folder: Path, *, partial: bool
) -> tuple[str, ...]:
    """What is left out. missing: labelled, without a file; unlabelled: files without a label.

    Raises SourceError ImageMissing, NoLabel where something would be and nobody asked for it.
    """
    if missing and not partial:
        raise SourceError(
            "ImageMissing", f"{listed(missing)} {'is' if len(missing) == 1 else 'are'} not in {folder}",
            at=Loc(str(labels)), hint="complete the images, or evaluate those that are there with --partial",
        )  # fmt: skip
    if unlabelled and not partial:
        raise SourceError(
            "NoLabel", f"no label for {listed(unlabelled)}", at=Loc(str(labels)),
            hint="add labels, or evaluate the images that have one with --partial",
        )  # fmt: skip
    return (*missing, *unlabelled)


def listed(names: Iterable[str]) -> str:
    """The first names, and how many more."""
    known = list(names)
    shown = ", ".join(f"'{name}'" for name in known[:SHOWN])
    return f"{shown} and {len(known) - SHOWN} more" if len(known) > SHOWN else shown


def bad(path: Path, what: str, hint: str, line: int = 0) -> SourceError:
    """Labels that cannot be used."""
    return SourceError("BadLabels", what, at=Loc(f"{path}:{line}" if line else str(path)), hint=hint)


def outside(path: Path, name: str, label: int, count: int, line: int = 0, *, hint: str = OBJECTS) -> SourceError:
    """A label that is no class."""
    return SourceError(
        "NoSuchClass", f"'{name}' is labelled {label}, classes are 0 to {count - 1}",
        at=Loc(f"{path}:{line}" if line else str(path)),
        hint=hint,
    )  # fmt: skip
