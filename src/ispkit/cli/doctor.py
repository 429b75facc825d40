"""`ispkit doctor`: what the pixels of a file say against what the file says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ispkit.cli.geometry import GeometryOption, parse_geometry
from ispkit.cli.guards import refuse_overwriting

if TYPE_CHECKING:
    from rich.console import Console

    from ispkit.doctor.examine import Examination
    from ispkit.doctor.findings import Report

_INKS = {"ok": "green", "warning": "yellow", "problem": "bold red", "undeterminable": "cyan"}
_SHOWN = 6


def doctor(
    file: Annotated[Path, typer.Argument(help="A RAW file, a mosaic picture or a headerless dump.")],
    geometry: GeometryOption = None,
    dump: Annotated[bool, typer.Option("--dump", help="Search as a headerless dump, whatever the file says.")] = False,
    proof: Annotated[
        Path | None, typer.Option("--proof", help="Write the proof picture (PNG); of a dump also NAME-candidates.png.")
    ] = None,
    write_sidecar: Annotated[
        bool, typer.Option("--write-sidecar", help="Write the suggested facts to FILE.yaml.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Examine a file: Bayer phase, levels, clipping, noise, hot pixels, shading, impossible metadata.

    Of a headerless dump the plausible geometries, bit depths and phases are ranked.

    Examples: `ispkit doctor IMG_0001.dng --proof proof.png` · `ispkit doctor frame.raw --write-sidecar`
    """
    from ispkit.doctor.examine import examination

    refuse_overwriting(proof, file)
    result = examination(file, parse_geometry(geometry), as_dump=dump)
    written = _proofs(result, proof) if proof is not None else []
    if write_sidecar:
        written.append(_sidecar(file, result.report))
    if as_json:
        print(json.dumps(result.report.as_dict() | {"written": list(map(str, written))}, indent=2, default=str))
        return
    _print(result.report, written)


def _proofs(result: Examination, target: Path) -> list[Path]:
    from ispkit.io.pictures import write_picture

    written = []
    picture, sheet = result.proof(), result.contact_sheet()
    if picture is not None:
        write_picture(target, picture)
        written.append(target)
    if sheet is not None:
        written.append(target.with_name(f"{target.stem}-candidates{target.suffix}"))
        write_picture(written[-1], sheet)
    return written


def _sidecar(file: Path, report: Report) -> Path:
    from ispkit.core.errors import FileError
    from ispkit.io.sidecar import sidecar_path, write_sidecar

    if report.suggested is None:
        raise FileError(f"{file}: there is nothing to write into a sidecar; the findings suggest no other facts")
    if sidecar_path(file).exists():
        raise FileError(f"{sidecar_path(file)} exists already and is not overwritten; remove it first")
    return write_sidecar(file, report.suggested)


def _print(report: Report, written: list[Path]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    table = Table(title=escape(report.file), title_justify="left", box=None, show_header=False, padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in report.findings:
        remedy = f"\n[dim]→ {escape(finding.remedy)}[/dim]" if finding.remedy else ""
        verdict = f"[{_INKS[finding.verdict]}]{finding.verdict}[/]"
        table.add_row(finding.check.replace("_", " "), verdict, escape(finding.what) + remedy)
    console.print(table)
    if report.search is not None and report.search.candidates:
        _print_candidates(report, console)
    _print_fix(report, console)
    for path in written:
        console.print(f"written: {escape(str(path))}", soft_wrap=True)


def _print_candidates(report: Report, console: Console) -> None:
    from rich.table import Table

    from ispkit.doctor.findings import describe

    columns = ("width", "height", "encoding", "bits", "stride", "offset", "trailing", "probability")
    table = Table(title="candidates, likeliest first", title_justify="left", box=None)
    for name in columns:
        table.add_column(name, justify="right")
    candidates = report.search.candidates if report.search is not None else ()
    for candidate in candidates[:_SHOWN]:
        row = describe(candidate)
        table.add_row(*(f"{row[c]:.2%}" if c == "probability" else str(row[c]) for c in columns))
    console.print(table)


def _print_fix(report: Report, console: Console) -> None:
    if report.suggested is None:
        return
    stated = report.suggested.stated().items()
    words = ",".join(f"{k}={':'.join(map(str, v)) if isinstance(v, tuple) else v}" for k, v in stated)
    console.print(f"suggested: --geometry {words}", soft_wrap=True, markup=False)
    console.print("[dim](--write-sidecar writes it to a YAML file beside)[/dim]")
