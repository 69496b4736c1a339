"""YAML from anywhere: plain values of limited depth and size, no aliases: a few lines of them stand for gigabytes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import yaml

DEEPEST = 16
CONFIG_BYTES = 1 << 16
SHOWN = 40  # characters of a value in a message


class PlainYamlError(ValueError):
    """The text is not such YAML; says why in one line."""


def read_yaml(text: str, most: int = CONFIG_BYTES) -> object:
    """The value in a text of at most so many characters. Raises PlainYamlError."""
    import yaml  # here: most compiles have no configuration to read

    if len(text) > most:
        raise PlainYamlError(f"{len(text)} characters, at most {most} are read")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml where it is there: the same, faster
    try:
        _check(yaml.parse(text, Loader=loader))
        return yaml.load(text, Loader=loader)
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


def _check(events: Iterable[yaml.Event]) -> None:
    """Event by event: nothing has been built yet, so that nothing can be large."""
    import yaml  # here: see above

    around: list[_Mapping | None] = []  # a list is None
    for event in events:
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise PlainYamlError("anchors and aliases (& and *) are not read: write the value where it is needed")
        if isinstance(event, yaml.NodeEvent) and around and around[-1] is not None:
            around[-1].add(event)
        if isinstance(event, yaml.CollectionStartEvent):
            around.append(_Mapping() if isinstance(event, yaml.MappingStartEvent) else None)
        elif isinstance(event, yaml.CollectionEndEvent):
            around.pop()
        if len(around) > DEEPEST:
            raise PlainYamlError(f"nested more than {DEEPEST} deep")


class _Mapping:
    """Keys and values in turns. No two keys are alike, says YAML; its parser takes the last one without a word."""

    def __init__(self) -> None:
        self._keys, self._is_key = set[str](), True

    def add(self, event: yaml.NodeEvent) -> None:
        """Raises PlainYamlError."""
        if self._is_key and (key := getattr(event, "value", None)) is not None:
            if key in self._keys:
                line = f"line {event.start_mark.line + 1}: " if event.start_mark is not None else ""
                raise PlainYamlError(f"{line}'{shortened(key)}' is given twice")
            self._keys.add(key)
        self._is_key = not self._is_key
