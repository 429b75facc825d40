"""The tree is the diagram: imports go down only (docs/decisions/0001-layers.md)."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1] / "src" / "ispkit"
# Folders of one layer do not import each other; each may import every layer before its own.
LAYERS = [
    {"core"},
    {"ops"},
    {"io", "metrics", "nets", "sensor", "charts"},
    {"isp", "kpi"},
    {"data", "doctor", "calibrate", "rig"},
    {"perceive"},
    {"train"},
    {"tune"},
    {"bench"},
    {"report"},
    {"serve"},
    {"cli"},
]
LEVEL = {folder: i for i, layer in enumerate(LAYERS) for folder in layer}


def imports(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.append(node.module)
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
    return [m for m in found if m == "ispkit" or m.startswith("ispkit.")]


def modules() -> list[tuple[str, Path]]:
    return [(p.relative_to(ROOT).parts[0], p) for p in ROOT.rglob("*.py") if p.parent != ROOT]


def test_every_folder_has_a_layer():
    assert {folder for folder, _ in modules()} <= set(LEVEL)


def test_imports_go_down_only():
    wrong = []
    for folder, path in modules():
        for module in imports(path):
            other = module.split(".")[1]
            if other != folder and LEVEL[other] >= LEVEL[folder]:
                wrong.append(f"{path.relative_to(ROOT)} imports {module}")
    assert not wrong


def test_ops_know_tensors_only():
    allowed = ("ispkit.ops", "ispkit.core.errors")
    wrong = [(p.name, m) for f, p in modules() if f == "ops" for m in imports(p) if not m.startswith(allowed)]
    assert not wrong


def test_files_can_be_read_in_one_sitting():
    long = {str(p.relative_to(ROOT)): n for _, p in modules() if (n := len(p.read_text().splitlines())) > 400}
    assert not long
