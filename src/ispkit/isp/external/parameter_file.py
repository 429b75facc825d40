"""The parameter files of programs: values put into a template by key, and read back from one.

A key is a path with slashes: "Section/Key" of an INI file ("Section/Key/1" for the second of values
joined by semicolons), "stage/knob" or "list/0" of JSON and YAML, "stage/knob" or "stage/knob@attribute" of XML
below its root, the flag itself, "--gain" or "--gain=", on a command line, and of any other text the place
"{key}" of its template, which can be written only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import yaml

from ispkit.core.errors import FileError
from ispkit.io.tuning.pp3 import IniText
from ispkit.isp.external.knobs import Written, as_text


@dataclass(frozen=True)
class Format:
    """How one kind of file is written and read."""

    suffix: str
    write: Callable[[str, Mapping[str, Written]], str]
    """template's text, key -> value: the text with them"""
    read: Callable[[str, str], Any]
    """text, key: the value, None where there is none"""


def flag_words(values: Mapping[str, Written]) -> list[str]:
    """Words of a command line: `--gain 2`, `--gain=2`; a switch stands alone where it is true."""
    words: list[str] = []
    for flag, value in values.items():
        if isinstance(value, bool):
            words += [flag.rstrip("=")] if value else []
        else:
            words += [flag + as_text(value)] if flag.endswith("=") else [flag, as_text(value)]
    return words


def _write_ini(template: str, values: Mapping[str, Written]) -> str:
    ini = IniText(template)
    texts: dict[tuple[str, str], str] = {}
    for key, value in values.items():
        section, name, item = _ini_key(key)
        text = as_text(value)
        if item is not None:
            parts = (texts.get((section, name)) or ini.get(section, name) or "").split(";")
            if item >= len(parts):
                raise FileError(f"the template has no {key!r}: {section}/{name} has {len(parts)} values")
            parts[item] = text
            text = ";".join(parts)
        texts[section, name] = text
    return ini.with_values(texts).text


def _read_ini(text: str, key: str) -> str | None:
    section, name, item = _ini_key(key)
    found = IniText(text).get(section, name)
    if item is None or found is None:
        return found
    parts = found.split(";")
    return parts[item] if item < len(parts) and parts[item] else None


def _ini_key(key: str) -> tuple[str, str, int | None]:
    parts = key.split("/")
    if len(parts) == 3 and parts[2].isdigit():
        return parts[0], parts[1], int(parts[2])
    if len(parts) != 2:
        raise FileError(f"{key!r} names no INI value; write Section/Key")
    return parts[0], parts[1], None


def missing_list(kind: str, text: str, template: str, key: str) -> str | None:
    """The whole list that `key` names an item of, where the template has it and an INI text has not."""
    if kind != "ini" or _ini_key(key)[2] is None:
        return None
    section, name, _ = _ini_key(key)
    return IniText(template).get(section, name) if IniText(text).get(section, name) is None else None


def _write_tree(load: Callable[[str], Any], dump: Callable[[Any], str]) -> Callable[[str, Mapping[str, Written]], str]:
    def write(template: str, values: Mapping[str, Written]) -> str:
        tree = load(template) if template.strip() else {}
        for key, value in values.items():
            *path, last = key.split("/")
            place = tree
            for part in path:
                place = place[int(part)] if isinstance(place, list) else place.setdefault(part, {})
            place[int(last) if isinstance(place, list) else last] = value
        return dump(tree)

    return write


def _read_tree(load: Callable[[str], Any]) -> Callable[[str, str], Any]:
    def read(text: str, key: str) -> Any:
        place = load(text)
        for part in key.split("/"):
            try:
                place = place[int(part) if isinstance(place, list) else part]
            except (KeyError, IndexError, TypeError, ValueError):
                return None
        return place

    return read


def _write_xml(template: str, values: Mapping[str, Written]) -> str:
    root = ElementTree.fromstring(template)
    for key, value in values.items():
        path, _, attribute = key.partition("@")
        place = root
        for part in filter(None, path.split("/")):
            found = place.find(part)
            place = ElementTree.SubElement(place, part) if found is None else found
        if attribute:
            place.set(attribute, as_text(value))
        else:
            place.text = as_text(value)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _read_xml(text: str, key: str) -> str | None:
    path, _, attribute = key.partition("@")
    root = ElementTree.fromstring(text)
    place = root.find(path) if path else root
    if place is None:
        return None
    return place.get(attribute) if attribute else (place.text or "").strip()


def _read_flags(text: str, key: str) -> str | bool | None:
    words = text.split()
    for i, word in enumerate(words):
        if key.endswith("=") and word.startswith(key):
            return word[len(key) :]
        if word == key:
            alone = i + 1 == len(words) or words[i + 1].startswith("--")
            return True if alone else words[i + 1]
    return None


def _write_text(template: str, values: Mapping[str, Written]) -> str:
    for key, value in values.items():
        if f"{{{key}}}" not in template:
            raise FileError(f"the template has no place {{{key}}}")
        template = template.replace(f"{{{key}}}", as_text(value))
    return template


FORMATS: Mapping[str, Format] = {
    "ini": Format(".ini", _write_ini, _read_ini),
    "json": Format(".json", _write_tree(json.loads, lambda t: json.dumps(t, indent=2) + "\n"), _read_tree(json.loads)),
    "yaml": Format(
        ".yaml",
        _write_tree(yaml.safe_load, lambda t: str(yaml.safe_dump(t, sort_keys=False))),
        _read_tree(yaml.safe_load),
    ),
    "xml": Format(".xml", _write_xml, _read_xml),
    "text": Format(".txt", _write_text, lambda _text, _key: None),
    "flags": Format(".txt", lambda _, values: " ".join(flag_words(values)) + "\n", _read_flags),
}


def fill(kind: str, template: str, values: Mapping[str, Written]) -> str:
    """The template's text with the values. Raises `FileError` where the template has no place for one."""
    try:
        return FORMATS[kind].write(template, values)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, SyntaxError, yaml.YAMLError) as error:
        if isinstance(error, FileError):
            raise
        reason = " ".join(str(error).split())
        raise FileError(f"the template is no {kind} that holds {', '.join(values)} ({reason})") from error


def found(kind: str, text: str, key: str) -> Any:
    """The value under `key`; None where there is none. Raises `FileError` for text of another kind."""
    try:
        return FORMATS[kind].read(text, key)
    except (ValueError, SyntaxError, yaml.YAMLError) as error:
        if isinstance(error, FileError):
            raise
        raise FileError(f"this is no {kind}: {' '.join(str(error).split())}") from error
