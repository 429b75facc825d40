"""RawTherapee's processing profiles (.pp3) and other INI files: values replaced, every other byte kept."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ispkit.core.errors import FileError
from ispkit.io.atomic import write_bytes

Key = tuple[str, str]
"""(section, key)"""

_SECTION = re.compile(r"\ufeff?\s*\[(.+)\]\s*$")
_ENTRY = re.compile(r"\s*([^\s=;#\[][^=]*?)\s*=[^\S\r\n]*(.*?)\s*$")


@dataclass(frozen=True)
class IniText:
    r"""An INI file with its text: comments, unknown keys, order and line endings stay as they are.

    A section may come twice; of a key that comes twice the last one counts, as GLib reads it.

    >>> text = IniText("[Exposure]\nCompensation=0\n").with_values({("Exposure", "Compensation"): "0.5"})
    >>> text.get("Exposure", "Compensation")
    '0.5'
    """

    text: str

    def get(self, section: str, key: str) -> str | None:
        """The value's text without the spaces around it; None where there is none."""
        place = self._places.get((section, key))
        return None if place is None else self.text[place[0] : place[1]]

    def values(self) -> dict[Key, str]:
        """Every value by (section, key), in the order of the file."""
        return {key: self.text[start:end] for key, (start, end) in self._places.items()}

    def with_values(self, values: Mapping[Key, str]) -> IniText:
        """The file with these values; a new key goes to the end of its section, a new section to the end."""
        edits: list[tuple[int, int, bool, str]] = []  # start, end, whether it is a new line, text
        new: dict[str, list[str]] = {}
        for (section, key), value in values.items():
            if (section, key) in self._places:
                edits.append((*self._places[section, key], False, value))
            else:
                new.setdefault(section, []).append(f"{key}={value}")
        newline = "\r\n" if "\r\n" in self.text else "\n"
        tail = ""
        for section, entries in new.items():
            block = "".join(newline + entry for entry in entries)
            if section in self._ends:
                edits.append((self._ends[section], self._ends[section], True, block))
            else:
                tail += f"{newline}[{section}]{block}{newline}"
        text = self.text
        if tail and text and not text.endswith("\n"):
            tail = newline + tail
        for start, end, _, value in sorted(edits, reverse=True):
            text = text[:start] + value + text[end:]
        return IniText(text + (tail if text else tail.lstrip("\r\n")))

    @cached_property
    def _scan(self) -> tuple[dict[Key, tuple[int, int]], dict[str, int]]:
        """Where each value stands, and where the last written line of each section ends."""
        places: dict[Key, tuple[int, int]] = {}
        ends: dict[str, int] = {}
        section, at = "", 0
        for line in self.text.splitlines(keepends=True):
            if header := _SECTION.match(line):
                section = header[1]
            elif entry := _ENTRY.match(line):
                places[section, entry[1]] = (at + entry.start(2), at + entry.end(2))
            if line.strip() and section:
                ends[section] = at + len(line.rstrip("\r\n"))
            at += len(line)
        return places, ends

    @property
    def _places(self) -> dict[Key, tuple[int, int]]:
        return self._scan[0]

    @property
    def _ends(self) -> dict[str, int]:
        return self._scan[1]


def read_pp3(path: str | os.PathLike[str]) -> IniText:
    """A profile as it stands in the file. Raises `FileError` for anything that is no INI text."""
    try:
        text = Path(path).read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"{path}: cannot be read as a processing profile ({error})") from error
    ini = IniText(text)
    if not ini.values():
        raise FileError(f"{path}: holds no 'key=value' under a [section]; a RawTherapee profile ends in .pp3")
    return ini


def write_pp3(path: str | os.PathLike[str], ini: IniText) -> None:
    """Write the profile, whole or not at all. Raises `FileError`."""
    write_bytes(path, ini.text.encode("utf-8"))
