"""Sidecars: a YAML file that says what bare samples cannot; ours, and the configs of Infinite-ISP."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from ispkit.core.errors import FileError, IspkitError, nearest
from ispkit.io.atomic import write_bytes
from ispkit.io.binary import read_bytes
from ispkit.io.geometry import Facts, Geometry
from ispkit.io.infinite_isp import infinite_isp_facts

VERSION = 1
VERSION_KEY = "ispkit_sidecar"
_MAX_BYTES = 8 << 20
_KNOWN = {f.name: f for f in fields(Geometry)}

# libyaml where it is compiled in: an Infinite-ISP file holds tables of 16384 numbers
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def sidecar_path(path: str | os.PathLike[str]) -> Path:
    """Where the sidecar of a file stands: the same name with `.yaml` added.

    >>> sidecar_path("shot.raw").name
    'shot.raw.yaml'
    """
    return Path(f"{os.fspath(path)}.yaml")


def find_sidecar(path: str | os.PathLike[str]) -> Path | None:
    """The sidecar beside a file: `<file>.yaml`, or Infinite-ISP's `<stem>-configs.yml`; None if there is none."""
    file = Path(path)
    candidates = (sidecar_path(file), file.with_name(f"{file.stem}-configs.yml"))
    return next((c for c in candidates if c.is_file()), None)


def is_own_sidecar(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a sidecar of this toolkit (and not some other YAML of that name)."""
    return VERSION_KEY.encode() in read_bytes(path, 4096)


def read_sidecar(path: str | os.PathLike[str], stored_bytes: int | None = None) -> Facts:
    """`Geometry` if the sidecar tells the layout, else `Facts`; either format, told by content.

    `stored_bytes` is the size of the dump: an Infinite-ISP file may describe 10 bits while 8 are stored,
    and its levels are then rescaled. Raises `FileError` that names the file, the key and what is known.
    """
    content = _mapping(path)
    if VERSION_KEY in content:
        return _own(path, content)
    if "sensor_info" in content:
        return _built(path, Geometry, infinite_isp_facts(path, content, stored_bytes))
    raise FileError(f"{path}: neither a sidecar (no key {VERSION_KEY!r}) nor an Infinite-ISP file (no 'sensor_info')")


def write_sidecar(path: str | os.PathLike[str], facts: Facts) -> Path:
    """Write the sidecar of the file `path` and return where it stands. Raises `FileError`."""
    target = sidecar_path(path)
    stated = {name: _plain(value) for name, value in facts.stated().items()}
    text = yaml.dump({VERSION_KEY: VERSION, **stated}, Dumper=_Dumper, sort_keys=False, default_flow_style=None)
    write_bytes(target, text.encode())
    return target


def _plain(value: Any) -> Any:
    return [_plain(v) for v in value] if isinstance(value, tuple) else value


def _mapping(path: str | os.PathLike[str]) -> dict[str, Any]:
    data = read_bytes(path, _MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise FileError(f"{path}: a sidecar has at most {_MAX_BYTES >> 20} MB; this is another kind of file")
    try:
        content = yaml.load(data, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f":{mark.line + 1}" if mark else ""
        raise FileError(f"{path}{place}: not YAML ({getattr(error, 'problem', None) or error})") from error
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise FileError(f"{path}: a sidecar is a list of 'name: value' lines")
    return content


def _own(path: str | os.PathLike[str], content: dict[str, Any]) -> Facts:
    version = content.pop(VERSION_KEY)
    if version != VERSION or isinstance(version, bool):
        raise FileError(f"{path}: {VERSION_KEY}={version!r} is not supported; this version reads {VERSION}")
    for key in content:
        if key not in _KNOWN:
            raise FileError(f"{path}: no key {key!r}; {nearest(key, _KNOWN)}")
    facts_only = {f.name for f in fields(Facts)}
    kind: type[Facts] = Facts if set(content) <= facts_only else Geometry
    missing = [name for name in ("width", "height", "bits") if name not in content]
    if kind is Geometry and missing:
        raise FileError(f"{path}: a layout also needs {', '.join(missing)}")
    return _built(path, kind, content)


def _built(path: str | os.PathLike[str], kind: type[Facts], content: dict[str, Any]) -> Facts:
    try:
        return kind(**content)
    except IspkitError as error:
        raise FileError(f"{path}: {error}") from error
