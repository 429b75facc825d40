"""Write docs/reference/: one page per stage and one for the presets, from the declarations."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from ispkit.isp.describe import describe_stage
from ispkit.isp.recipe import PRESETS
from ispkit.isp.stages import STAGES

HERE = Path(__file__).parent
HEAD = (
    "| knob | default | range | unit | scale | gradient | acts if | what it does |\n|---|---|---|---|---|---|---|---|"
)


def stage_page(name: str) -> str:
    """The reference page of one stage."""
    stage = describe_stage(STAGES[name])
    rows = [
        f"| `{name}.{k['name']}` | {k['default']} | {k['range']} | {k['unit']} | {k['scale']} "
        f"| {'yes' if k['differentiable'] else 'no'} | {k['when']} | {k['doc']} |"
        for k in stage["knobs"]
    ]
    table = "\n".join([HEAD, *rows]) if rows else "This stage has no knobs."
    options = f"\nOptions given in a recipe: {', '.join(stage['options'])}.\n" if stage["options"] else ""
    return f"# {name}\n\n`{stage['reads']}` → `{stage['writes']}`\n\n{stage['doc']}\n{options}\n{table}\n"


def index_page() -> str:
    """All stages in a table."""
    lines = ["# Stages", "", "| stage | reads | writes | knobs | what it does |", "|---|---|---|---|---|"]
    for name, kind in STAGES.items():
        s = describe_stage(kind)
        lines.append(f"| [{name}]({name}.md) | {s['reads']} | {s['writes']} | {len(s['knobs'])} | {s['summary']} |")
    total = sum(len(kind.knobs) for kind in STAGES.values())
    return "\n".join([*lines, "", f"{len(STAGES)} stages, {total} knobs."]) + "\n"


def presets_page() -> str:
    """The recipes that ship with the toolkit."""
    parts = ["# Presets", "", "A preset is a recipe that ships with the toolkit; copy one and change it."]
    for name in PRESETS:
        text = files("ispkit.isp").joinpath("presets", f"{name}.yaml").read_text(encoding="utf-8")
        parts += ["", f"## {name}", "", "```yaml", text.rstrip(), "```"]
    return "\n".join(parts) + "\n"


def main() -> None:
    """Write all pages anew."""
    folder = HERE / "reference"
    folder.mkdir(exist_ok=True)
    (folder / "index.md").write_text(index_page(), encoding="utf-8")
    (folder / "presets.md").write_text(presets_page(), encoding="utf-8")
    for name in STAGES:
        (folder / f"{name}.md").write_text(stage_page(name), encoding="utf-8")


if __name__ == "__main__":
    main()
