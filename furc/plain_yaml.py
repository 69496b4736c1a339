"""YAML from anywhere: plain values of limited depth and size, no aliases: a few lines of them stand for gigabytes."""

from __future__ import annotations

import yaml

DEEPEST = 16
CONFIG_BYTES = 1 << 16
SHOWN = 40  # characters of a value in a message
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml where it is there: the same, faster


class PlainYamlError(ValueError):
    """The text is not such YAML; says why in one line."""


def read_yaml(text: str, most: int = CONFIG_BYTES) -> object:
    """The value in a text of at most so many characters. Raises PlainYamlError."""
    if len(text) > most:
        raise PlainYamlError(f"{len(text)} characters, at most {most} are read")
    try:
        _check(text)
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark is not None else ""
        raise PlainYamlError(f"{line}{error.problem or 'not YAML'}") from error
    except PlainYamlError:
        raise
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:  # dates and numbers that are none
        raise PlainYamlError(shortened(next(iter(str(error).splitlines()), "not YAML"))) from error


def shortened(value: object) -> str:
    """A value in a message: its beginning."""
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _check(text: str) -> None:
    """Event by event: nothing has been built yet, so that nothing can be large."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise PlainYamlError("anchors and aliases (& and *) are not read: write the value where it is needed")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise PlainYamlError(f"nested more than {DEEPEST} deep")
