"""JSON text that keeps its layout: every value knows where it stands, and one can be replaced in place.

Grammar: RFC 8259. Stricter than Python's reader: no NaN, no number beyond float64, no key twice.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ispkit.core.errors import FileError

Path = Sequence[str | int]

_SPACE = re.compile(r"[ \t\n\r]*")
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?", re.ASCII)
_WORDS = {"true": True, "false": False, "null": None}
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_LINE = 120


@dataclass(frozen=True)
class Node:
    """One value of the text."""

    value: Any
    start: int
    end: int
    children: Mapping[str | int, Node] = field(default_factory=dict)
    key_starts: Mapping[str, int] = field(default_factory=dict)
    """of an object: where each key's opening quote stands"""


@dataclass(frozen=True)
class JsonText:
    """A JSON document with its text. Changing one value leaves every other byte as it is."""

    text: str
    root: Node
    source: str
    widths: Mapping[str, int] = field(default_factory=dict)
    """numbers a line for the lists of these keys"""

    @property
    def value(self) -> Any:
        """The document as plain Python data."""
        return self.root.value

    def node(self, path: Path) -> Node | None:
        """The node at keys and indices `path`; None if there is none."""
        found: Node | None = self.root
        for step in path:
            found = None if found is None else found.children.get(step)
        return found

    def replaced(self, path: Path, value: Any) -> JsonText:
        """The document with `value` at `path`; a key that its object lacks is added as the last."""
        old = self.node(path)
        key = next((str(p) for p in reversed(path) if isinstance(p, str)), "")
        if old is None:
            return self._added(path, value)
        new = self._layout(value, key, self._indent(old.start))
        return self._spliced(old.start, old.end, new)

    def removed(self, path: Path) -> JsonText:
        """The document without the key at `path`; the same document if there is none."""
        parent, key = self.node(path[:-1]), path[-1]
        if parent is None or not isinstance(key, str) or key not in parent.children:
            return self
        keys = list(parent.key_starts)
        i = keys.index(key)
        if i > 0:
            return self._spliced(parent.children[keys[i - 1]].end, parent.children[key].end, "")
        if len(keys) > 1:
            return self._spliced(parent.key_starts[key], parent.key_starts[keys[1]], "")
        return self._spliced(parent.start, parent.end, "{ }")

    def _added(self, path: Path, value: Any) -> JsonText:
        parent, key = self.node(path[:-1]), path[-1]
        if parent is None or not isinstance(parent.value, dict | list):
            raise FileError(f"{self.source}: {'.'.join(map(str, path[:-1]))} must be an object or a list")
        if not parent.children:
            return self.replaced(path[:-1], {key: value} if isinstance(parent.value, dict) else [value])
        last = list(parent.children.values())[-1]
        first = min(parent.key_starts.values()) if parent.key_starts else last.start
        indent = self._indent(first)
        name = json.dumps(key, ensure_ascii=False) + ":" if isinstance(parent.value, dict) else ""
        body = self._layout(value, str(key), indent)
        gap = self._between(value, str(key), indent) if name else ""
        start = f"{self._newline}{indent}" if self._is_laid_out else " "
        return self._spliced(last.end, last.end, f",{start}{name}{gap}{body}")

    def _spliced(self, start: int, end: int, new: str) -> JsonText:
        return parse_json(self.text[:start] + new + self.text[end:], self.source, self.widths)

    @property
    def _is_laid_out(self) -> bool:
        return "\n" in self.text.strip()

    @property
    def _newline(self) -> str:
        return "\r\n" if "\r\n" in self.text else "\n"

    def _indent(self, at: int) -> str:
        line = self.text[self.text.rfind("\n", 0, at) + 1 : at]
        return line[: len(line) - len(line.lstrip())]

    def _layout(self, value: Any, key: str, indent: str) -> str:
        if not self._is_laid_out:
            return json.dumps(value, ensure_ascii=False)
        return layout(value, key, indent=indent, widths=self.widths).replace("\n", self._newline)

    def _between(self, value: Any, key: str, indent: str) -> str:
        if not self._is_laid_out:
            return " "
        return _gap(value, key, indent, self.widths).replace("\n", self._newline)


def parse_json(text: str, source: str, widths: Mapping[str, int] | None = None) -> JsonText:
    """Read JSON text. Raises `FileError` that names `source`, line and column."""
    try:
        json.loads(text)
        root, _ = _scan(text, _skip(text, 0), source)
    except json.JSONDecodeError as error:
        reason = error.msg[0].lower() + error.msg[1:]
        raise FileError(f"{source}:{error.lineno}:{error.colno}: not JSON, {reason}") from error
    except RecursionError as error:
        raise FileError(f"{source}: not JSON that can be read, lists stand in lists too deeply") from error
    except ValueError as error:
        raise error if isinstance(error, FileError) else FileError(f"{source}: not JSON, {error}") from error
    return JsonText(text, root, source, widths or {})


def _string(text: str, at: int) -> tuple[str, int]:
    """The string whose opening quote stands at `at`, and where it ends."""
    match = _STRING.match(text, at)
    end = match.end() if match else len(text)
    return str(json.loads(text[at:end])), end


def place(text: str, at: int) -> str:
    """Line and column of a position, "12:5"; both count from 1."""
    return f"{text.count(chr(10), 0, at) + 1}:{at - text.rfind(chr(10), 0, at)}"


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _scan(text: str, at: int, source: str) -> tuple[Node, int]:
    """The value at `at` and where it ends; `json` has proved the grammar before."""
    if text[at] in "{[":
        return _scan_group(text, at, source)
    if text[at] == '"':
        string, end = _string(text, at)
        return Node(string, at, end), end
    for word, value in _WORDS.items():
        if text.startswith(word, at):
            return Node(value, at, at + len(word)), at + len(word)
    match = _NUMBER.match(text, at)
    if match is None:
        raise FileError(f"{source}:{place(text, at)}: not JSON, NaN and Infinity are no numbers there")
    number = float(match[0]) if match[1] or match[2] else int(match[0])
    if not math.isfinite(number):
        raise FileError(f"{source}:{place(text, at)}: {match[0]} is too large for a number of 64 bits")
    return Node(number, at, match.end()), match.end()


def _scan_group(text: str, at: int, source: str) -> tuple[Node, int]:
    is_object = text[at] == "{"
    children: dict[str | int, Node] = {}
    key_starts: dict[str, int] = {}
    end = _skip(text, at + 1)
    while text[end] not in "}]":
        key: str | int = len(children)
        if is_object:
            start = end
            name, end = _string(text, start)
            key = name
            if key in children:
                raise FileError(f"{source}:{place(text, start)}: the key {key!r} comes twice; keep one of them")
            key_starts[name] = start
            end = _skip(text, _skip(text, end) + 1)
        children[key], end = _scan(text, end, source)
        end = _skip(text, end)
        if text[end] == ",":
            end = _skip(text, end + 1)
    value: Any = {k: n.value for k, n in children.items()} if is_object else [n.value for n in children.values()]
    return Node(value, at, end + 1, children, key_starts), end + 1


def layout(value: Any, key: str = "", *, indent: str = "", widths: Mapping[str, int] | None = None) -> str:
    """`value` as text in the layout of libcamera's Raspberry Pi files, from its first character on.

    Objects open on a line of their own, lists of plain values stay on one line of 120 characters if
    they can, and those whose key stands in `widths` have that many values a line.
    """
    widths, inner = widths or {}, indent + "    "
    if isinstance(value, dict):
        if not value:
            return "{ }"
        lines = [
            f"{inner}{json.dumps(k, ensure_ascii=False)}:{_gap(v, k, inner, widths)}"
            f"{layout(v, k, indent=inner, widths=widths)}"
            for k, v in value.items()
        ]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    if not isinstance(value, list):
        return json.dumps(value, ensure_ascii=False)
    if any(isinstance(v, dict | list) for v in value):
        rows = [layout(v, indent=inner, widths=widths) for v in value]
    else:
        rows = _rows(value, key, indent, widths)
        if not rows or (len(rows) == 1 and key not in widths):
            return f"[ {rows[0]} ]" if rows else "[ ]"
    return "[\n" + ",\n".join(inner + row for row in rows) + f"\n{indent}]"


def _gap(value: Any, key: str, indent: str, widths: Mapping[str, int]) -> str:
    """What stands between a key's colon and its value."""
    if isinstance(value, dict):
        return f"\n{indent}" if value else " "
    if isinstance(value, list) and value and not any(isinstance(v, dict | list) for v in value):
        return f"\n{indent}" if key in widths or len(_rows(value, key, indent, widths)) > 1 else " "
    return " "


def _rows(values: list[Any], key: str, indent: str, widths: Mapping[str, int]) -> list[str]:
    """Plain values, joined to as many as stand on a line."""
    words = [json.dumps(v, ensure_ascii=False) for v in values]
    if key in widths:
        return [", ".join(words[i : i + widths[key]]) for i in range(0, len(words), widths[key])]
    rows: list[str] = []
    for word in words:
        longer = f"{rows[-1]}, {word}" if rows else word
        if rows and len(longer) <= _LINE - len(indent) - 4:
            rows[-1] = longer
        else:
            rows.append(word)
    return rows
