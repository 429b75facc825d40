"""What the benchmark scripts share: where numbers were made, tables, and files written whole."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ispkit.io.atomic import write_bytes


def environment() -> dict[str, Any]:
    """The machine, the date, the commit and the libraries that matter for a number."""
    models = [line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")]
    cpu = models[0] if models else platform.processor()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    libraries = ("torch", "numpy", "rawpy", "opencv-python-headless")
    return {
        "machine": f"{cpu}, {os.cpu_count()} cores",
        "system": f"{platform.system()} {platform.machine()}, Python {sys.version.split()[0]}",
        "date": date.today().isoformat(),
        "commit": commit.stdout.strip() or "unknown",
        "libraries": {name: version(name) for name in libraries},
    }


def _cpuinfo() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []


def table(rows: list[dict[str, Any]]) -> str:
    """Rows as a Markdown table, numbers with three significant digits."""
    head = list(rows[0])
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(_cell(row[key]) for key in head) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def finish(title: str, results: Path, numbers: dict[str, Any], sections: dict[str, str], command: str) -> None:
    """Print the tables; write the JSON and the page docs/benchmarks/NAME.md."""
    made = environment()
    write_bytes(results, (json.dumps({"command": command, "environment": made, **numbers}, indent=1) + "\n").encode())
    libraries = ", ".join(f"{k} {v}" for k, v in made["libraries"].items())
    text = [
        f"# {title}",
        f"Made by `{command}` at commit {made['commit']} on {made['date']}: {made['machine']}, {libraries}.",
    ]
    for heading, body in sections.items():
        text += [f"## {heading}", body]
        print(f"\n{heading}\n{body}")
    page = Path(__file__).parents[1] / "docs" / "benchmarks" / f"{results.stem}.md"
    page.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(page, ("\n\n".join(text) + "\n").encode())
