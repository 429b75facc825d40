"""A hook of mkdocs: puts the generated pages (reference, benchmarks, results) into the navigation."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any


def on_config(config: Any) -> Any:
    """Fill the sections of the navigation whose entry is a folder."""
    docs = Path(config["docs_dir"])
    for section in config["nav"]:
        for title, entry in section.items():
            if isinstance(entry, str) and entry.endswith("/"):
                section[title] = pages(docs, entry)
    return config


def pages(docs: Path, folder: str) -> list[str]:
    """The pages of a folder, relative to `docs`: its index, then in the order of the index's links, then by name."""
    names = sorted(p.name for p in (docs / folder).glob("*.md"))
    index = docs / folder / "index.md"
    links = re.findall(r"\(([\w-]+\.md)\)", index.read_text(encoding="utf-8")) if index.is_file() else []
    order = {name: i for i, name in reversed(list(enumerate(["index.md", *links])))}
    return [folder + name for name in sorted(names, key=lambda n: (order.get(n, len(order)), n))]
