"""`ispkit render`: RAW files to pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ispkit.cli.geometry import GeometryOption, SidecarOption
from ispkit.core.errors import ParamError

if TYPE_CHECKING:
    from ispkit.cli.jobs import Outcome


def render(
    raws: Annotated[list[Path], typer.Argument(metavar="RAW...", help="RAW files, or folders of them.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="A folder, or for one RAW a .png, .jpg or .tif file.")],
    recipe: Annotated[Path | None, typer.Option("--recipe", "-r", help="YAML recipe instead of a preset.")] = None,
    preset: Annotated[
        str | None,
        typer.Option("--preset", "-p", help="neutral (default), camera-like, low-light or machine-vision."),
    ] = None,
    isp: Annotated[
        Path | None, typer.Option("--isp", metavar="WEIGHTS", help="A learned ISP (.safetensors) instead of a preset.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", "-s", metavar="STAGE.KNOB=VALUE", help="Turn a knob; repeatable.")
    ] = None,
    crop: Annotated[
        str | None, typer.Option("--crop", metavar="X,Y,W,H", help="Window of the upright picture, px.")
    ] = None,
    size: Annotated[int | None, typer.Option("--size", metavar="PX", help="Shrink the longer edge to this.")] = None,
    stages: Annotated[
        Path | None, typer.Option("--stages", metavar="DIR", help="Also write the picture after each stage.")
    ] = None,
    format: Annotated[str, typer.Option("--format", "-f", help="png, jpg, tif: for a folder as output.")] = "png",
    bits: Annotated[int, typer.Option("--bits", help="8, or 16 for png and tif.")] = 8,
    quality: Annotated[int, typer.Option("--quality", min=1, max=100, help="Of a JPEG.")] = 95,
    geometry: GeometryOption = None,
    sidecar: SidecarOption = None,
    executor: Annotated[str, typer.Option("--executor", help="auto, torch or fused.")] = "auto",
    device: Annotated[str, typer.Option("--device", help="Of --isp: cpu or cuda.")] = "cpu",
    half: Annotated[
        str | None, typer.Option("--half", metavar="bf16|fp16", help="Half precision of --isp, on a GPU.")
    ] = None,
    workers: Annotated[int, typer.Option("--workers", "-w", min=1, help="Processes for many files.")] = 1,
    force: Annotated[bool, typer.Option("--force", help="Render again what is already there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON summary for machines.")] = False,
) -> None:
    """Develop RAW files into pictures.

    Into a folder, a second run with the same settings skips what is finished, so an interrupted one resumes.

    Examples:
    ispkit render IMG_0001.dng -o picture.png

    ispkit render shoot/ -o out/ --preset camera-like --format jpg --workers 2

    ispkit render a.dng -o a.png --set white_balance.mode=cct --set white_balance.cct_k=4800 --crop 100,200,512,512

    ispkit render scene.raw -o scene.png -g width=1920,height=1080,bits=10,cfa=RGGB,black_level=64

    ispkit render shoot/ -o out/ --isp cameranet.safetensors
    """
    from ispkit.cli import jobs

    plan = jobs.plan(
        raws,
        out,
        look=_look(isp, preset, recipe, settings or [], executor=executor, device=device, half=half),
        output=jobs.Output(crop=jobs.parse_crop(crop), size=size, format=format, bits=bits, quality=quality),
        geometry=geometry,
        sidecar=sidecar,
        executor=executor,
        stages=stages,
    )
    outcomes = jobs.run_all(plan, workers=workers, force=force, quiet=as_json)
    if as_json:
        print(json.dumps([o.as_dict() for o in outcomes], indent=2))
    else:
        _print_summary(outcomes)
    if any(o.error for o in outcomes):
        raise typer.Exit(2)


def _look(
    isp: Path | None,
    preset: str | None,
    recipe: Path | None,
    settings: list[str],
    *,
    executor: str,
    device: str,
    half: str | None,
) -> dict[str, Any]:
    """The resolved recipe, of a learned ISP or of a pipeline."""
    from ispkit.cli import jobs, learned_jobs

    if isp is None:
        if device != "cpu" or half is not None:
            raise ParamError("--device and --half are those of a learned ISP; give --isp WEIGHTS, or leave them out")
        return jobs.look(preset, recipe, settings)
    refused = {
        "--preset": preset,
        "--recipe": recipe,
        "--set": settings,
        "--executor": executor if executor != "auto" else None,
    }
    return learned_jobs.learned_look(isp, refused, device=device, half=half)


def _print_summary(outcomes: list[Outcome]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("RAW", "picture", "size", "seconds", "result", box=None, header_style="bold")
    for o in outcomes:
        size, seconds = (f"{o.width}x{o.height}", f"{o.seconds:.2f}") if o.width else ("", "")
        table.add_row(escape(o.raw), escape(o.picture), size, seconds, _result(o))
    console = Console()
    if len(outcomes) > 1 or not outcomes[0].error:
        console.print(table)
    errors = Console(stderr=True, soft_wrap=True)
    for o in outcomes:
        if o.error:
            errors.print(f"ispkit: {o.error}", markup=False, highlight=False)


def _result(outcome: Outcome) -> str:
    if outcome.error:
        return "[red]refused[/]"
    return "[yellow]there already[/]" if outcome.skipped else "[green]written[/]"
