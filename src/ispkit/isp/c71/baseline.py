"""The frozen expert setting and the sources it was frozen for."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import yaml

from ispkit.core.errors import FileError
from ispkit.isp.c71.registers import PAPER_EXPERT, REGISTERS

FILE = "baseline.yaml"


@dataclass(frozen=True)
class Baseline:
    """What benchmarks/c71_baseline.py wrote."""

    values: dict[str, float]
    """every register"""
    source_hash: str
    """of the sources at that time"""
    date: str
    command: str


def source_hash() -> str:
    """SHA-256 over this package's Python files, by name; any change of c71 changes it."""
    digest = hashlib.sha256()
    folder = files("ispkit.isp.c71")
    for name in sorted(p.name for p in folder.iterdir() if p.name.endswith(".py")):
        digest.update(name.encode() + b"\0" + folder.joinpath(name).read_bytes().replace(b"\r\n", b"\n") + b"\0")
    return digest.hexdigest()


@cache
def read_baseline() -> Baseline:
    """The baseline that ships with the toolkit; the paper's values before there is one. Raises `FileError`."""
    file = files("ispkit.isp.c71").joinpath(FILE)
    if not file.is_file():
        return Baseline(dict(PAPER_EXPERT), "", "", "")
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    values = {name: float(value) for name, value in content["values"].items()}
    if set(values) != {r.name for r in REGISTERS}:
        raise FileError(f"{FILE}: not the registers of this c71; make it again with benchmarks/c71_baseline.py")
    return Baseline(values, content["source_hash"], str(content["date"]), content["command"])
