"""`ispkit stages`: every stage and knob, from the declarations."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer


def stages(
    name: Annotated[str | None, typer.Argument(help="One stage; without it, all of them in a line each.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """List the stages, or the knobs of one: range, unit, scale, gradient, meaning.

    Examples: `ispkit stages` · `ispkit stages sharpen` · `ispkit stages --json`
    """
    from ispkit.core.errors import ParamError, nearest
    from ispkit.isp.describe import describe_stage
    from ispkit.isp.stages import STAGES

    if name is not None and name not in STAGES:
        raise ParamError(f"no stage {name!r}; {nearest(name, STAGES)}")
    described = {n: describe_stage(STAGES[n]) for n in ([name] if name else STAGES)}
    if as_json:
        print(json.dumps(described, indent=2))
    elif name:
        _print_stage(name, described[name])
    else:
        _print_all(described)


def _print_all(described: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("stage", "reads", "writes", "knobs", "what it does", box=None, header_style="bold")
    for name, stage in described.items():
        table.add_row(name, stage["reads"], stage["writes"], str(len(stage["knobs"])), stage["summary"])
    console = Console()
    console.print(table)
    total = sum(len(stage["knobs"]) for stage in described.values())
    console.print(f"\n{len(described)} stages, {total} knobs. One stage in full: ispkit stages NAME", highlight=False)


def _print_stage(name: str, stage: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Column, Table

    console = Console()
    console.print(f"[bold]{name}[/bold]  {stage['reads']} -> {stage['writes']}\n{stage['doc']}\n", highlight=False)
    titles = ("default", "range", "unit", "scale", "gradient", "acts if", "what it does")
    table = Table(Column("knob", no_wrap=True), *titles, box=None)
    for knob in stage["knobs"]:
        gradient = "yes" if knob["differentiable"] else "no"
        row = [f"{name}.{knob['name']}", knob["default"], knob["range"], knob["unit"], knob["scale"], gradient]
        table.add_row(*(str(v) for v in row), knob["when"], knob["doc"])
    console.print(table)
