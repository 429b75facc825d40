"""What an experiment leaves behind: its question, its numbers, what was claimed, and how to make it again."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ispkit.io.atomic import write_bytes


@dataclass(frozen=True)
class Table:
    """Rows of plain values under a heading."""

    heading: str
    rows: Sequence[Mapping[str, Any]]
    note: str = ""


@dataclass(frozen=True)
class Claim:
    """What was to be shown, and whether it was."""

    text: str
    measured: str
    met: bool


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One experiment with its results, JSON-able."""

    name: str
    """of the files, e.g. "c71" """
    title: str
    question: str
    command: str
    data: str
    """which pictures, and which of them were kept for the end"""
    seed: int
    budget: str
    seconds: float
    """of the call that wrote it, or of the searches in all calls where that is more"""
    tables: Sequence[Table]
    claims: Sequence[Claim] = ()
    notes: Sequence[str] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
    """everything else that was measured, for the JSON file alone"""


def environment() -> dict[str, Any]:
    """The machine, the date, the commit and the libraries that matter for a number."""
    models = [line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")]
    cpu = models[0] if models else platform.processor()
    libraries = ("torch", "numpy", "rawpy", "opencv-python-headless", "optuna", "cmaes")
    return {
        "machine": f"{cpu}, {os.cpu_count()} cores",
        "system": f"{platform.system()} {platform.machine()}, Python {sys.version.split()[0]}",
        "date": date.today().isoformat(),
        "commit": _commit(),
        "libraries": {name: version(name) for name in libraries},
    }


def _commit() -> str:
    """Of the checkout that this file belongs to; an installed package may lie in somebody else's."""
    where = Path(__file__).resolve().parent
    top = _git("rev-parse", "--show-toplevel", cwd=where)
    if not top or Path(top).resolve() / "src" / "ispkit" != where.parent:
        return "unknown"
    return _git("describe", "--always", "--dirty", "--exclude=*", cwd=where) or "unknown"


def _git(*words: str, cwd: Path) -> str:
    """What git answers; nothing where it fails or is not there."""
    try:
        return subprocess.run(["git", *words], capture_output=True, text=True, check=False, cwd=cwd).stdout.strip()
    except OSError:
        return ""


def markdown_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as a Markdown table, numbers with three significant digits."""
    head = list(rows[0])
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(_cell(row[key]) for key in head) + " |" for row in rows]
    return "\n".join(lines)


def write_experiment(folder: str | Path, experiment: Experiment) -> tuple[Path, Path]:
    """Write NAME.json and NAME.md into a folder, each whole or not at all; their paths. Raises `FileError`."""
    room = Path(folder)
    room.mkdir(parents=True, exist_ok=True)
    made = environment()
    data, page = room / f"{experiment.name}.json", room / f"{experiment.name}.md"
    facts = {"environment": made, **asdict(experiment)}
    write_bytes(data, (_json(facts) + "\n").encode())
    write_bytes(page, _page(experiment, made).encode())
    return data, page


def _json(value: Any, pad: str = "") -> str:
    """Indented JSON in which whatever holds nothing but plain values takes one line: a row of a table stays a row."""
    named = isinstance(value, Mapping)
    parts = list(value.values()) if named else list(value) if isinstance(value, list | tuple) else []
    if not any(isinstance(part, Mapping | list | tuple) for part in parts):
        return json.dumps(value, ensure_ascii=False)
    deeper = pad + " "
    keys = [f"{json.dumps(str(k), ensure_ascii=False)}: " for k in value] if named else [""] * len(parts)
    lines = [f"{deeper}{key}{_json(part, deeper)}" for key, part in zip(keys, parts, strict=True)]
    begin, end = "{}" if named else "[]"
    return f"{begin}\n" + ",\n".join(lines) + f"\n{pad}{end}"


def _page(experiment: Experiment, made: Mapping[str, Any]) -> str:
    libraries = ", ".join(f"{k} {v}" for k, v in made["libraries"].items())
    facts = {
        "command": f"`{experiment.command}`",
        "data": experiment.data,
        "seed": experiment.seed,
        "budget": experiment.budget,
        "seconds": f"{experiment.seconds:.0f}",
        "machine": f"{made['machine']}; {libraries}",
        "date, commit": f"{made['date']}, {made['commit']}",
    }
    parts = [f"# {experiment.title}", experiment.question]
    parts += [markdown_table([{"": key, "value": value} for key, value in facts.items()])]
    if experiment.claims:
        rows = [
            {"to show": c.text, "measured": c.measured, "": "yes" if c.met else "**no**"} for c in experiment.claims
        ]
        parts += ["## What was to be shown", markdown_table(rows)]
    for table in experiment.tables:
        parts += [f"## {table.heading}", markdown_table(table.rows)] + ([table.note] if table.note else [])
    if experiment.notes:
        parts += ["## Notes", "\n".join(f"- {note}" for note in experiment.notes)]
    return "\n\n".join(parts) + "\n"


def _cell(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _cpuinfo() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []
