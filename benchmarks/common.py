"""What the benchmark scripts share: where numbers were made, tables, and files written whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ispkit.bench.experiment import environment
from ispkit.bench.experiment import markdown_table as table
from ispkit.io.atomic import write_bytes

__all__ = ["environment", "finish", "table"]


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
