"""`ispkit restore`: finished pictures that were noisy, compressed or badly processed, restored by a learned ISP."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ispkit.core.errors import ParamError

if TYPE_CHECKING:
    from ispkit.cli.restore_jobs import Outcome

_DEVICES = ("cpu", "cuda")


def restore(
    pictures: Annotated[
        list[Path], typer.Argument(metavar="PICTURE...", help="PNG, JPEG or TIFF files, or folders of them.")
    ],
    isp: Annotated[
        Path, typer.Option("--isp", "-i", metavar="WEIGHTS", help="A net that restores, as `ispkit train dir` makes.")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="A folder, or for one picture a file.  [default: NAME_restored beside it]"),
    ] = None,
    tile: Annotated[
        int | None, typer.Option("--tile", metavar="PX", min=16, help="Edge of a tile; smaller needs less memory.")
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Also write before and after side by side, as NAME_compare.")
    ] = False,
    score: Annotated[
        Path | None,
        typer.Option(
            "--score", "--niqe-model", metavar="NPZ", help="niqe_pris_params.npz: adds NIQE before and after."
        ),
    ] = None,
    quality: Annotated[int, typer.Option("--quality", min=1, max=100, help="Of a JPEG.")] = 95,
    device: Annotated[str, typer.Option("--device", help="cpu or cuda.")] = "cpu",
    force: Annotated[bool, typer.Option("--force", help="Restore again what is already there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON summary for machines.")] = False,
) -> None:
    """Restore finished pictures, whatever happened to them: noise, compression, badly set processing.

    Each comes back in its own format, bit depth, size and color profile, upright; a gray one stays gray. A picture that
    cannot be read is told and the others go on. What is there already and newer than picture and weights is left.

    Examples:
    ispkit restore photo.jpg --isp run/weights.safetensors

    ispkit restore holiday/ --isp dir.safetensors -o better/ --compare

    ispkit restore scan.tif --isp dir.safetensors -o scan_clean.tif --tile 512

    ispkit restore *.png --isp dir.safetensors -o out/ --score niqe_pris_params.npz --json
    """
    from ispkit.cli import restore_jobs
    from ispkit.isp.learned.tiles import Execution
    from ispkit.metrics.niqe import NiqeModel

    if device.partition(":")[0] not in _DEVICES:
        raise ParamError(f"--device {device!r} is unknown; use {' or '.join(_DEVICES)}")
    jobs = restore_jobs.plan(pictures, out, compare=compare)
    restorer = restore_jobs.Restorer(
        restore_jobs.open_restorer(isp, device),
        isp,
        Execution(tile=tile or "auto", channels_last=device != "cpu"),
        quality=quality,
        niqe=None if score is None else NiqeModel.load(score),
    )
    outcomes = restore_jobs.run_all(jobs, restorer, force=force, quiet=as_json)
    if as_json:
        print(json.dumps([o.as_dict() for o in outcomes], indent=2))
    else:
        _print_summary(outcomes)
    if any(o.error for o in outcomes):
        raise typer.Exit(2)


def _print_summary(outcomes: list[Outcome]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    scored = any(o.scores for o in outcomes)
    heads = ("picture", "restored", "size", "bits", "seconds", *(("NIQE before", "after") if scored else ()), "result")
    table = Table(*heads, box=None, header_style="bold")
    for o in outcomes:
        facts = (f"{o.width}x{o.height}", str(o.bits), f"{o.seconds:.2f}") if o.width else ("", "", "")
        numbers = [_number(o.scores.get(name)) for name in ("niqe_before", "niqe_after")] if scored else []
        table.add_row(escape(o.picture), escape(o.restored), *facts, *numbers, _result(o))
    if len(outcomes) > 1 or not outcomes[0].error:
        Console().print(table)
    errors = Console(stderr=True, soft_wrap=True)
    for o in outcomes:
        if o.error:
            errors.print(f"ispkit: {o.error}", markup=False, highlight=False)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _result(outcome: Outcome) -> str:
    if outcome.error:
        return "[red]refused[/]"
    return "[yellow]there already[/]" if outcome.skipped else "[green]written[/]"
