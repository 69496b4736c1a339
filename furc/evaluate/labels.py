"""Labels of a classification: a directory for each class, or a text file with an image and its class on every line.

images/tench/1.jpg          file,label            ILSVRC2012_val_00000001.JPEG 65
images/goldfish/2.jpg       cats/1.jpg,281        ILSVRC2012_val_00000002.JPEG 970
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from furc.evaluate.truth import Labelled, Truth, bad, complete, images_below, read_text
from isa.errors import Loc, SourceError, counted

HEADINGS = {"file", "filename", "file_name", "image", "path", "name", "id"}  # of the first column
NUMBERED = "a number, or a name from --classes FILE"


def read_labels(
    folder: Path, labels: Path | None = None, classes: Sequence[str] = (), *, offset: int = 0, partial: bool = False
) -> Truth:
    """Images with a class each. labels: a text file; without one the directories of `folder` are the classes.

    classes: names by index. offset: added to every label. partial: leave out images without label and labels without
    image. Raises SourceError NoImages, LabelsNotFound, BadLabels, NoLabel, ImageMissing.
    """
    if labels is None:
        return _by_directory(folder, classes, offset, partial=partial)
    return _by_file(folder, labels, classes, offset, partial=partial)


def _by_directory(folder: Path, classes: Sequence[str], offset: int, *, partial: bool) -> Truth:
    files = images_below(folder)
    inside = [file for file in files if file.parent != folder]
    loose = [str(file.relative_to(folder)) for file in files if file.parent == folder]
    if not inside:
        raise SourceError(
            "NoLabel", "the images are not in directories of their classes", at=Loc(str(folder)),
            hint="give --labels FILE, lines of file,label; or put the images of each class in a directory",
        )  # fmt: skip
    left_out = complete((), loose, folder, folder, partial=partial)
    directories = sorted({file.relative_to(folder).parts[0] for file in inside})
    names, numbers = _numbered(folder, directories, classes)
    images = (
        Labelled(str(file.relative_to(folder)), file, numbers[file.relative_to(folder).parts[0]] + offset)
        for file in inside
    )
    return Truth(tuple(images), tuple(names), left_out)


def _numbered(folder: Path, directories: Sequence[str], classes: Sequence[str]) -> tuple[Sequence[str], dict[str, int]]:
    """Names of the classes, and which one each directory is: the name, a number, or its place among all of them."""
    if classes:
        known = _known(classes)
        for name in directories:
            if name not in known:
                raise bad(folder, f"directory '{name}' is none of the {counted(len(classes), 'class', 'classes')}",
                          "name it as in --classes, whole or by the first word of the line")  # fmt: skip
        return classes, {name: _only(folder, f"directory '{name}'", known[name]) for name in directories}
    if all(name.isdecimal() and name.isascii() for name in directories):  # by number: as text, 10 comes before 2
        return (), _by_number(folder, directories)
    return directories, {name: index for index, name in enumerate(directories)}


def _by_number(folder: Path, directories: Sequence[str]) -> dict[str, int]:
    found = dict[int, str]()
    for name in directories:
        other = found.setdefault(int(name[:18]), name)
        if other != name:
            hint = "put the images of a class in one directory, or say with --classes FILE what they are"
            raise bad(folder, f"directories '{other}' and '{name}' are the same number", hint)
    return {name: number for number, name in found.items()}


def _known(classes: Sequence[str]) -> dict[str, list[int]]:
    """Indices by name, and by the first word: lists of ImageNet's classes go "n01440764 tench, Tinca tinca". Several
    where a name stands twice, or a word begins several names and is none of them."""
    words, names = dict[str, list[int]](), dict[str, list[int]]()
    for index, name in enumerate(classes):
        words.setdefault(name.split()[0].rstrip(","), []).append(index)
        names.setdefault(name, []).append(index)
    return words | names


def _only(path: Path, what: str, indices: Sequence[int], line: int = 0) -> int:
    """Raises SourceError BadLabels where a name means several classes."""
    if len(indices) > 1:
        several = ", ".join(map(str, indices[:4])) + (", ..." if len(indices) > 4 else "")
        raise bad(path, f"{what} means {len(indices)} classes, {several}",
                  "use whole names, and make them differ in --classes FILE", line)  # fmt: skip
    return indices[0]


def _by_file(folder: Path, labels: Path, classes: Sequence[str], offset: int, *, partial: bool) -> Truth:
    files = {str(file.relative_to(folder)): file for file in images_below(folder)}
    images, missing = dict[str, Labelled](), list[str]()
    known = {word: indices for word, indices in _known(classes).items() if not _is_number(word) or word in classes}
    for line, name, word in _rows(labels):
        if name in images or name in missing:
            raise bad(labels, f"'{name}' has two labels", "keep one line for each image", line)
        label = _label(labels, line, word, known)
        if name in files:
            images[name] = Labelled(name, files[name], label + offset)
        else:
            missing.append(name)
    if not images and not missing:
        raise bad(labels, "there are no labels in it", "lines of file,label")
    left_out = complete(missing, [name for name in files if name not in images], labels, folder, partial=partial)
    if not images:
        raise SourceError("NoImages", f"none of its {counted(len(missing), 'image')} is in {folder}",
                          at=Loc(str(labels)), hint="files are named from the --data folder on")  # fmt: skip
    return Truth(tuple(images[name] for name in sorted(images)), tuple(classes), left_out)


def _label(labels: Path, line: int, word: str, known: dict[str, list[int]]) -> int:
    if word in known:
        return _only(labels, f"'{word}'", known[word], line)
    if _is_number(word):
        return int(word[:18])
    raise bad(labels, f"'{word}' is no class", f"a label is {NUMBERED}", line)


def _is_number(word: str) -> bool:
    """Also of a name's first word: a label 1 is the class 1, not the one called "1 cent coin"."""
    return re.fullmatch(r"[+-]?[0-9]+", word) is not None


def _rows(path: Path) -> Iterator[tuple[int, str, str]]:
    """Line, file and label. A comma or a tab parts them; else the last blank."""
    lines = read_text(path).splitlines()
    for number, row in enumerate(_cells(path, lines), 1):
        if not row or not "".join(row).strip():
            continue
        if len(row) < 2 or not row[0].strip() or not row[1].strip():
            raise bad(path, "this line is not file,label", "one image and its class on every line", number)
        name, label = row[0].strip(), row[1].strip()
        if number == 1 and name.lower() in HEADINGS:
            continue
        yield number, str(Path(name)), label


def _cells(path: Path, lines: Sequence[str]) -> Iterator[list[str]]:
    first = next((line for line in lines if line.strip()), "")
    mark = next((mark for mark in (",", "\t") if mark in first), None)
    for number, line in enumerate(lines, 1):
        if mark is None:
            yield line.rsplit(None, 1)
            continue
        try:
            yield next(csv.reader(io.StringIO(line), delimiter=mark), [])
        except csv.Error as error:
            raise bad(path, str(error), "one image and its class on every line", number) from error
