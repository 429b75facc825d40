"""`ispkit compare`: metrics between pictures, and a page to look at them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ispkit.cli.guards import refuse_overwriting


def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="A picture: PNG, JPEG or TIFF.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another of the same size.")],
    ref: Annotated[
        Path | None, typer.Option("--ref", "-r", metavar="R", help="The truth that both are judged by.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="PAGE.html", help="Also write a page to look at.")
    ] = None,
    metrics: Annotated[str | None, typer.Option("--metrics", metavar="NAME,...", help="Only these.")] = None,
    samples_per_degree: Annotated[
        float, typer.Option("--samples-per-degree", help="Viewing distance of S-CIELAB, pixels per degree.")
    ] = 60.0,
    niqe_model: Annotated[Path | None, typer.Option("--niqe-model", help="niqe_pris_params.npz; adds NIQE.")] = None,
    lpips: Annotated[
        str | None,
        typer.Option(
            "--lpips", metavar="NET,BACKBONE,HEADS", help="alex, vgg16 or squeeze, and its two files; adds LPIPS."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Compare two pictures with each other, or both with a reference.

    The page holds the pictures themselves: wipe, flip, side by side, difference, zoom of 100, 200 and 400 %
    without smoothing. It is one file and loads nothing.

    Example: two pictures by each other, with the page.

    ispkit compare mine.png other.png -o page.html

    Example: which of two comes closer to the truth, for a program.

    ispkit compare denoised.png noisy.png --ref truth.png --json
    """
    from ispkit.report.compare import Options, compare_pictures
    from ispkit.report.load import load_srgb

    refuse_overwriting(out, a, b, ref)
    pictures = {label: load_srgb(path) for label, path in (("A", a), ("B", b), ("R", ref)) if path is not None}
    options = Options(
        metrics=[name.strip() for name in metrics.split(",")] if metrics else None,
        samples_per_degree=samples_per_degree,
        models=_models(niqe_model, lpips),
    )
    result = compare_pictures(pictures["A"], pictures["B"], pictures.get("R"), options)
    paths = {"A": str(a), "B": str(b)} | ({"R": str(ref)} if ref else {})
    if out is not None:
        from ispkit.report.compare_page import write_page

        write_page(out, pictures, result, names=paths)
    if as_json:
        print(
            json.dumps({"pictures": paths, **result, "page": str(out) if out else None}, indent=2, ensure_ascii=False)
        )
    else:
        _print(result, paths, out)


def _models(niqe_model: Path | None, lpips: str | None) -> dict[str, Any]:
    from ispkit.core.errors import ParamError
    from ispkit.metrics.lpips import Lpips
    from ispkit.metrics.niqe import NiqeModel

    models: dict[str, Any] = {}
    if niqe_model is not None:
        models["niqe"] = NiqeModel.load(niqe_model)
    if lpips is not None:
        parts = lpips.split(",")
        if len(parts) != 3:
            raise ParamError(f"--lpips {lpips!r} should be NET,BACKBONE,HEADS such as alex,alexnet.pth,alex_heads.pth")
        models["lpips"] = Lpips.load(parts[1], parts[2], name=parts[0])  # type: ignore[arg-type]
    return models


def _print(result: dict[str, Any], paths: dict[str, str], out: Path | None) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from ispkit.report.compare import better_of, format_value

    columns = [k for k in paths if any(k in row["values"] for row in result["metrics"])]
    table = Table("metric", box=None, header_style="bold")
    for label in columns:
        table.add_column(label, justify="right")
    for heading in ("unit", "range", "better", "what it is"):
        table.add_column(heading)
    for row in result["metrics"]:
        best = better_of(row)
        cells = [format_value(row["values"].get(k)) for k in columns]
        cells = [f"[bold green]{c}[/]" if k == best else c for k, c in zip(columns, cells, strict=True)]
        direction = "higher" if row["higher_is_better"] else "lower"
        table.add_row(
            row["name"], *cells, row["unit"], escape(row["range"]), direction, escape(row.get("skipped", row["doc"]))
        )
    console = Console()
    for label, path in paths.items():
        console.print(f"{label}  {path}", markup=False, highlight=False)
    console.print(f"{result['width']}x{result['height']} pixels, judged against {result['against']}\n", highlight=False)
    console.print(table)
    if out is not None:
        console.print(f"\nPage: {out}", markup=False, highlight=False)
