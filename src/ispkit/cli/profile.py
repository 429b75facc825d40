"""`ispkit profile`: what a learned ISP costs, in parameters and operations, before anything is trained."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ispkit.nets.count import Counts


def profile(
    net: Annotated[str, typer.Argument(help="A learned ISP, for instance cameranet or deepisp.")],
    preset: Annotated[
        str | None, typer.Option("--preset", help="paper, released or small; default: the ISP's.")
    ] = None,
    size: Annotated[str, typer.Option("--size", metavar="WxH", help="The picture in pixels.")] = "4032x3024",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Count parameters, MACs and FLOPs of each part of a learned ISP; nothing is computed, whatever the size.

    Examples: `ispkit profile cameranet` · `ispkit profile deepisp --preset small --size 1920x1080 --json`
    """
    from ispkit.isp.learned.catalog import build
    from ispkit.nets.count import count, picture_shape

    width, height = _parsed(size)
    isp = build(net, **({} if preset is None else {"preset": preset}))
    shapes = {name: picture_shape(part.net, height, width) for name, part in isp.named_parts.items()}
    counts = {name: count(part.net, shapes[name]) for name, part in isp.named_parts.items()}
    report = {"name": net, "preset": preset, "size": [width, height], **_facts(counts, shapes)}
    print(json.dumps(report, indent=2)) if as_json else _print(report)


def _parsed(size: str) -> tuple[int, int]:
    """Width and height, the order in which papers and file viewers write a picture's size."""
    from ispkit.core.errors import ParamError

    sides = [int(part) for part in size.lower().split("x") if part.isdecimal()]
    if len(sides) != 2 or size.lower().count("x") != 1 or 0 in sides:
        raise ParamError(f"--size {size!r} should be WIDTHxHEIGHT in pixels, such as 4032x3024")
    return sides[0], sides[1]


def _facts(counts: dict[str, Counts], shapes: dict[str, tuple[int, int, int, int]]) -> dict[str, Any]:
    from dataclasses import asdict
    from functools import reduce
    from operator import add

    from ispkit.nets.count import CONVENTIONS

    parts = {name: {"input": list(shapes[name]), **asdict(counts[name])} for name in counts}
    return {"parts": parts, "total": asdict(reduce(add, counts.values())), "conventions": dict(CONVENTIONS)}


def _print(report: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Column, Table

    width, height = report["size"]
    titles = [Column(t, justify="right") for t in ("input", "parameters", "GMACs", "GFLOPs", "profiler GFLOPs")]
    table = Table("part", *titles, box=None, header_style="bold")
    for name, row in (*report["parts"].items(), ("total", report["total"])):
        shape = "x".join(map(str, row["input"][1:])) if "input" in row else ""
        giga = (f"{row[key] / 1e9:,.2f}" for key in ("macs", "flops", "profiler_flops"))
        table.add_row(name, shape, f"{row['parameters']:,}", *giga)
    console = Console()
    console.print(f"{report['name']} at {width}x{height}\n", highlight=False)
    console.print(table)
    lines = (f"{key.replace('_', ' ')}: {text}" for key, text in report["conventions"].items())
    console.print(
        "\n" + "\n".join(lines) + "\ninputs: channels x height x width, sides rounded up to what the net needs"
    )
