"""YAML text that keeps its comments: values are replaced in the text, where the parser says they stand.

PyYAML drops comments when it writes, so nothing is written through it. A comment inside a replaced value
goes with it; every other byte stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import yaml

from ispkit.core.errors import FileError


@dataclass(frozen=True)
class YamlText:
    """A YAML document with its text. Raises `FileError` where the structure is not what is asked for."""

    text: str
    root: yaml.MappingNode
    source: str

    @cached_property
    def value(self) -> Any:
        """The document as plain Python data."""
        loader = yaml.SafeLoader("")
        try:
            return loader.construct_document(self.root)
        except (yaml.YAMLError, ValueError) as error:
            raise FileError(f"{self.source}: not plain YAML, {' '.join(str(error).split())[:200]}") from error
        finally:
            loader.dispose()

    def sequence(self, key: str) -> yaml.SequenceNode:
        """The block list under a top-level key."""
        node = member(self.root, key)
        if not isinstance(node, yaml.SequenceNode) or node.flow_style or not node.value:
            raise FileError(f"{self.source}: {key!r} must be a list with one '- entry' a line")
        return node

    def replaced(self, mapping: yaml.MappingNode, values: Mapping[str, Any], widths: Mapping[str, int]) -> YamlText:
        """The document with keys of a block mapping set to `values`; keys that are not there are added last."""
        indent = " " * mapping.start_mark.column
        if mapping.flow_style:
            raise FileError(f"{self._place(mapping)}: write this mapping with one 'key: value' a line")
        edits, missing = [], dict(values)
        for name, old in mapping.value:
            if name.value in missing:
                start = self.text.index(":", name.end_mark.index) + 1
                new = written(missing.pop(name.value), indent, widths.get(name.value), widths)
                edits.append((start, max(_end(old), start), new))
        lines = [f"\n{indent}{k}:{written(v, indent, widths.get(k), widths)}" for k, v in missing.items()]
        at = self._line_end(_end(mapping))
        return self._spliced([*edits, (at, at, "".join(lines))])

    def filled(
        self, mapping: yaml.MappingNode, key: str, values: Mapping[str, Any], widths: Mapping[str, int]
    ) -> YamlText:
        """The document with the empty value of `key` replaced by a block mapping of `values`."""
        name = next(name for name, _ in mapping.value if name.value == key)
        return self._inserted(name.end_mark.index, written(values, " " * mapping.start_mark.column, None, widths))

    def with_item(self, key: str, index: int, name: str) -> YamlText:
        """The document with an entry `- name:` at `index` of the block list under a top-level key."""
        items = self.sequence(key)
        head = next(name for name, _ in self.root.value if name.value == key)
        at = _end(items.value[index - 1]) if index else head.end_mark.index
        return self._inserted(at, f"\n{' ' * items.start_mark.column}- {name}:")

    def with_section(self, key: str) -> YamlText:
        """The document with an empty top-level key at its end."""
        return self._inserted(_end(self.root), f"\n\n{key}:")

    def _inserted(self, at: int, new: str) -> YamlText:
        """`new` after the line that holds position `at`, so that its comment stays where it is."""
        end = self._line_end(at)
        return self._spliced([(end, end, new)])

    def _line_end(self, at: int) -> int:
        ends = [i for i in (self.text.find("\r\n", at), self.text.find("\n", at)) if i >= 0]
        return min(ends, default=len(self.text))

    def _spliced(self, edits: list[tuple[int, int, str]]) -> YamlText:
        """The document with (start, end, new text) put in; positions are those of the old text."""
        text, newline = self.text, "\r\n" if "\r\n" in self.text else "\n"
        for start, end, new in sorted(edits, reverse=True):
            text = text[:start] + new.replace("\n", newline) + text[end:]
        return parse_yaml(text, self.source)

    def _place(self, node: yaml.Node) -> str:
        return f"{self.source}:{node.start_mark.line + 1}:{node.start_mark.column + 1}"


def parse_yaml(text: str, source: str) -> YamlText:
    """Read YAML text whose top is a mapping. Raises `FileError` that names `source`, line and column."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        linked = _first_link(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f":{mark.line + 1}:{mark.column + 1}" if mark is not None else ""
        raise FileError(f"{source}{where}: not YAML, {error.problem or error.context}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise FileError(f"{source}: not YAML, {' '.join(str(error).split())[:200]}") from error
    if linked is not None:
        mark = linked.start_mark
        raise FileError(f"{source}:{mark.line + 1}:{mark.column + 1}: anchors (&, *) are not edited; write values out")
    if not isinstance(root, yaml.MappingNode):
        raise FileError(f"{source}: a tuning file is a mapping of 'key: value' lines")
    _refuse_twins(root, source)
    return YamlText(text, root, source)


def _first_link(text: str) -> Any:
    """The first token of an anchor or alias."""
    if "&" not in text and "*" not in text:
        return None
    tokens = (yaml.AnchorToken, yaml.AliasToken)
    return next((t for t in yaml.scan(text, Loader=yaml.SafeLoader) if isinstance(t, tokens)), None)


def member(mapping: yaml.MappingNode, key: str) -> yaml.Node | None:
    """The value of a key; None if there is none."""
    return next((value for name, value in mapping.value if name.value == key), None)


def is_empty(node: yaml.Node | None) -> bool:
    """Whether a value is left out, as in `- Awb:`."""
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def _end(node: yaml.Node) -> int:
    """Where a value's last character is; the parser's own mark of a block lies before the next value."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return max(_end(n) for n in (last if isinstance(last, tuple) else (last,)))
    return int(node.end_mark.index)


def _refuse_twins(node: yaml.Node, source: str) -> None:
    if isinstance(node, yaml.SequenceNode):
        for child in node.value:
            _refuse_twins(child, source)
    if not isinstance(node, yaml.MappingNode):
        return
    seen: set[str] = set()
    for name, child in node.value:
        if isinstance(name.value, str) and name.value in seen:
            line = name.start_mark.line + 1
            raise FileError(f"{source}:{line}: the key {name.value!r} comes twice; keep one of them")
        seen.add(str(name.value))
        _refuse_twins(child, source)


def written(value: Any, indent: str, width: int | None, widths: Mapping[str, int]) -> str:
    """`value` as it stands behind a key's colon at `indent`: block lists of mappings, flow lists of numbers."""
    if isinstance(value, dict):
        inner = indent + "  "
        return "".join(f"\n{inner}{k}:{written(v, inner, widths.get(k), widths)}" for k, v in value.items())
    if not isinstance(value, list):
        return " " + _scalar(value)
    if any(isinstance(v, dict) for v in value):
        inner = indent + "    "
        items = ["".join(_lines(v, inner, widths)).lstrip() for v in value]
        return "".join(f"\n{indent}  - {item}" for item in items)
    words = [_scalar(v) for v in value]
    if width is None or len(words) <= width:
        return f" [ {', '.join(words)} ]"
    inner = indent + "  "
    rows = [", ".join(words[i : i + width]) for i in range(0, len(words), width)]
    return " [\n" + ",\n".join(inner + row for row in rows) + " ]"


def _lines(mapping: Mapping[str, Any], inner: str, widths: Mapping[str, int]) -> list[str]:
    return [f"\n{inner}{k}:{written(v, inner, widths.get(k), widths)}" for k, v in mapping.items()]


def _scalar(value: Any) -> str:
    if isinstance(value, float) and not value.is_integer():
        return f"{value:.6f}".rstrip("0")
    return str(value).lower() if isinstance(value, bool) else str(value)
