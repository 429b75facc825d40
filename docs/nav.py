"""A hook of mkdocs: puts the generated pages (reference, benchmarks) into the navigation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

FIRST = ("index.md", "presets.md")


def on_config(config: Any) -> Any:
    """Fill the sections of the navigation whose entry is a folder."""
    docs = Path(config["docs_dir"])
    for section in config["nav"]:
        for title, entry in section.items():
            if isinstance(entry, str) and entry.endswith("/"):
                section[title] = pages(docs, entry)
    return config


def pages(docs: Path, folder: str) -> list[str]:
    """The pages of a folder, relative to `docs`: overviews first, the others by name."""
    names = sorted(p.name for p in (docs / folder).glob("*.md"))
    return [f"{folder}{name}" for name in sorted(names, key=lambda n: (n not in FIRST, n))]
