"""`ispkit info`: what a file says of itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ispkit.cli.geometry import GeometryOption, SidecarOption, parse_geometry
from ispkit.cli.guards import refuse_overwriting


def info(
    file: Annotated[Path, typer.Argument(help="A RAW file, or a dump with its geometry.")],
    geometry: GeometryOption = None,
    sidecar: SidecarOption = None,
    thumbnail: Annotated[Path | None, typer.Option("--thumbnail", help="Write the embedded thumbnail here.")] = None,
    preview: Annotated[Path | None, typer.Option("--preview", help="Write a quick half-size picture here.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Say what a RAW file states: size, CFA, levels, white, matrices, noise, corrections, EXIF.

    Examples: `ispkit info IMG_0001.dng` · `ispkit info shot.nef --json` · `ispkit info a.dng --preview a.png`
    """
    from ispkit.io.describe import describe
    from ispkit.io.load import load

    refuse_overwriting(thumbnail, file, sidecar)
    refuse_overwriting(preview, file, sidecar)
    facts = describe(load(file, geometry=parse_geometry(geometry), sidecar=sidecar), str(file))
    if as_json:
        print(json.dumps(facts, indent=2, default=str))
    else:
        _print(facts)
    if preview is not None:
        _write_preview(file, preview, geometry, sidecar)
    if thumbnail is not None:
        _write_thumbnail(file, thumbnail)


def _write_thumbnail(file: Path, target: Path) -> None:
    from ispkit.io.pictures import write_picture
    from ispkit.io.raw import read_thumbnail

    write_picture(target, read_thumbnail(file))


def _write_preview(file: Path, target: Path, geometry: str | None, sidecar: Path | None) -> None:
    from ispkit.io.load import load
    from ispkit.io.pictures import write_picture
    from ispkit.isp.develop import develop_frame
    from ispkit.isp.recipe import preset

    frame = load(file, geometry=parse_geometry(geometry), sidecar=sidecar, half_size=True)
    write_picture(target, develop_frame(frame, preset("neutral")))


def _print(facts: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(show_header=False, box=None)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        if name == "exif":
            for key, entry in value.items():
                table.add_row(escape(key), escape(str(entry)[:200]))
        elif value not in (None, []):
            table.add_row(name.replace("_", " "), escape(_words(name, value)))
    Console().print(table)


def _words(name: str, value: Any) -> str:
    if name in ("color_matrices", "forward_matrices"):
        first, second = value
        return _matrix(first) if first == second else f"{_matrix(first)}\n\n{_matrix(second)}"
    if name == "noise_profile":
        return "\n".join(f"{c}: variance = {s:.4g} x + {o:.4g}" for c, (s, o) in zip("RGB", value, strict=True))
    if isinstance(value, list):
        same = len(set(map(str, value))) == 1 and name != "opcodes"
        return str(value[0]) if same else ", ".join(map(str, value))
    return str(value)


def _matrix(rows: list[list[float]]) -> str:
    return "\n".join("  ".join(f"{v:8.4f}" for v in row) for row in rows)
