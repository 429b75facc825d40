"""`ispkit regress`: two tunings on the same chart shots; exit code 1 if the second is worse."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ispkit.bench.chart_shots import ChartShot
    from ispkit.bench.regress import ShotChange

GOT_WORSE = 1


def regress(
    a: Annotated[str, typer.Argument(metavar="A", help="The tuning that is good: preset, recipe.yaml or Pi .json.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The tuning that is judged.")],
    charts: Annotated[str, typer.Option("--charts", metavar="NAME,...", help="Charts to simulate.")] = "lab",
    sensor: Annotated[
        str | None,
        typer.Option("--sensor", help="Sensor profile by name or file; else that of A.json, or an ordinary one."),
    ] = None,
    iso: Annotated[str, typer.Option("--iso", metavar="N,...", help="Gains of the simulated shots.")] = "100,1600",
    cct_k: Annotated[
        float, typer.Option("--cct", min=1667, max=25000, help="Color temperature of the simulated light, kelvin.")
    ] = 5500.0,
    shots: Annotated[
        Path | None, typer.Option("--shots", metavar="DIR", help="Your RAW shots of the chart, instead of simulating.")
    ] = None,
    tolerances: Annotated[
        Path | None, typer.Option("--tolerances", metavar="FILE.yaml", help="How much each KPI may worsen.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="PAGE.html", help="The page.")] = None,
    px_per_degree: Annotated[float, typer.Option("--px-per-degree", help="Viewing distance.")] = 60.0,
    seed: Annotated[int, typer.Option("--seed", help="Of the simulated noise.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Compare two tunings on all KPIs: exit code 0 if B is as good as A, 1 if any KPI got worse.

    Both develop the very same shots, so equal tunings give equal numbers. A page is always written when something got
    worse (regress.html unless -o names another).

    Example: may this recipe go into the next release?

    ispkit regress camera-like mine.yaml -o regress.html

    Example: in continuous integration, with own shots and tolerances.

    ispkit regress imx219.json imx219_new.json --shots shots/ --charts lab --tolerances iq.yaml --json
    """
    from ispkit.bench.chart_shots import shots_in, simulated_shots
    from ispkit.bench.regress import check_patterns, got_worse
    from ispkit.bench.regress import regress as run
    from ispkit.bench.tolerances import DEFAULTS, load_tolerances
    from ispkit.bench.tunings import load_tuning
    from ispkit.charts.catalog import build
    from ispkit.cli.guards import check_outputs, refuse_overwriting
    from ispkit.kpi.view import Settings
    from ispkit.sensor.catalog import load_sensor
    from ispkit.sensor.simulate import Sensor

    page = out or Path("regress.html")
    refuse_overwriting(page, Path(a), Path(b), tolerances, Path(sensor) if sensor else None)
    check_outputs(page)
    first, second = load_tuning(a), load_tuning(b)
    own = load_tolerances(tolerances) if tolerances else ()
    wanted = [build(name.strip(), **({"markers": True} if name.strip() != "lab" else {})) for name in charts.split(",")]
    if shots is not None:
        taken = shots_in(shots, wanted[0])
    else:
        camera = load_sensor(sensor) if sensor else first.sensor(wanted[0].size) or Sensor()
        taken = simulated_shots(wanted, camera, isos=_numbers("--iso", iso), cct_k=cct_k, seed=seed)
    wanted_settings, limits = Settings(px_per_degree), (*own, *DEFAULTS)
    changes = run(_with_progress(taken, as_json), first, second, settings=wanted_settings, tolerances=limits)
    if tolerances is not None:
        check_patterns(own, changes, where=tolerances)
    worse = got_worse(changes)
    written = page if worse or out else None
    if written is not None:
        from ispkit.report.regress_page import write_regress_page

        write_regress_page(written, changes, a=a, b=b)
    if as_json:
        print(json.dumps(_summary(changes, a, b, written), indent=2, ensure_ascii=False))
    else:
        _print(changes, written)
    if worse:
        raise typer.Exit(GOT_WORSE)


def _numbers(option: str, text: str) -> list[float]:
    from ispkit.core.errors import ParamError

    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if not values or min(values) <= 0:
        raise ParamError(f"{option} {text!r} should be positive numbers such as 100,1600")
    return values


def _with_progress(shots: Sequence[ChartShot], quiet: bool) -> Iterator[ChartShot]:
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True, quiet=quiet)
    yield from track(shots, description="measuring", console=console, transient=True)


def _summary(changes: Sequence[ShotChange], a: str, b: str, page: Path | None) -> dict[str, Any]:
    from ispkit.bench.regress import got_worse
    from ispkit.report.regress_page import change_row

    shots = [
        {
            "shot": shot.shot,
            "changes": [change_row(c) for c in shot.changes],
            "warnings": list(dict.fromkeys(w for result in shot.results for w in result.warnings)),
        }
        for shot in changes
    ]
    return {"a": a, "b": b, "worse": got_worse(changes), "page": str(page) if page else None, "shots": shots}


def _print(changes: Sequence[ShotChange], page: Path | None) -> None:
    from rich.console import Console
    from rich.table import Table

    from ispkit.bench.regress import got_worse
    from ispkit.report.page import cell
    from ispkit.report.regress_page import count

    console = Console()
    for shot in changes:
        moved = [c for c in shot.main() if c.verdict in ("worse", "lost", "better", "gained")]
        hidden = len(shot.of("worse", "lost", "better", "gained")) - len(moved)
        more = f", and {hidden} more in single regions" if hidden else ""
        console.print(f"{shot.shot}: {len(moved)} KPIs changed{more}", style="bold", highlight=False)
        table = Table("KPI", "A", "B", "unit", "tolerated", "verdict", box=None, header_style="bold")
        for c in moved:
            style = {"worse": "red", "lost": "red", "better": "green"}.get(c.verdict, "")
            row = (c.a.key.replace("[", r"\["), cell(c.a.value), cell(c.b.value), c.a.unit, cell(c.allowed), c.verdict)
            table.add_row(*row, style=style)
        if moved:
            console.print(table)
    verdict = "B is worse" if got_worse(changes) else "B is not worse"
    counts = ", ".join(f"{n} {v}" for v in ("worse", "lost", "better", "same") if (n := count(changes, v)))
    console.print(f"{verdict} ({counts})", style="bold red" if got_worse(changes) else "bold green", highlight=False)
    if page is not None:
        console.print(f"Page: {page}", markup=False, highlight=False)
