"""`ispkit bench`: the experiments on tuning, one command each, with tables that say whether they came out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from ispkit.cli.bench_output import command_line, experiment_room, folders, one_of

bench = typer.Typer(rich_markup_mode=None, add_completion=False, no_args_is_help=True)

OutOption = Annotated[
    Path | None,
    typer.Option("--out", "-o", metavar="DIR", help="Run folders, to go on with.  [default: bench_out/NAME]"),
]
ResultsOption = Annotated[
    Path | None,
    typer.Option("--results", metavar="DIR", help="NAME.json, NAME.md.  [default: docs/results in a checkout, or DIR]"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Of pictures, noise, start and search.")]
PicturesOption = Annotated[
    list[Path] | None,
    typer.Option("--pictures", "-p", metavar="DIR", help="Folder of pictures; may be repeated.  [default: made here]"),
]
MethodOption = Annotated[str, typer.Option("--method", "-m", help="auto, proxy, cma, turbo, ...")]
MethodSetting = Annotated[list[str] | None, typer.Option("--option", metavar="NAME=VALUE", help="Of the method.")]
BudgetOption = Annotated[int, typer.Option("--budget", "-n", min=2, help="Renders of the tuning set, for each search.")]
GainsOption = Annotated[
    str | None, typer.Option("--gains", metavar="N,...", help="Gains of the sensor; 1 is ISO 100.  [default: its own]")
]
CropOption = Annotated[str | None, typer.Option("--crop", metavar="HxW", help="Window of each picture.")]
SensorOption = Annotated[str, typer.Option("--sensor", help="Simulated sensor, by name or file.")]


@bench.callback()
def experiments() -> None:
    """Repeat the experiments on tuning; each ends with a table and whether it showed what it had to show.

    Run a command again to go on after Ctrl-C. The exit code is 0 also where a claim is not met: that is a result.
    """


@bench.command()
def functions(
    preset: Annotated[str, typer.Option("--preset", help="small: 3 seeds, budget 200; full: 20, up to 2000.")] = "full",
    seeds: Annotated[int | None, typer.Option("--seeds", min=1, help="Runs of each method.")] = None,
    budgets: Annotated[str | None, typer.Option("--budgets", metavar="N,...", help="Measurements.")] = None,
    method: Annotated[list[str] | None, typer.Option("--method", "-m", help="Only these; may be repeated.")] = None,
    workers: Annotated[int, typer.Option("--workers", "-w", min=1, help="Processes.")] = 2,
    out: OutOption = None,
    results: ResultsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Noisy Ackley, Rastrigin, Step-2 and Alpine-1 in 20 dimensions: every method, the same noise and starts.

    ispkit bench functions --preset small --method auto --method cma
    """
    from ispkit.bench.functions_report import write_functions
    from ispkit.bench.functions_run import BUDGETS, ENTRANTS, run_functions

    sizes = {"small": (3, BUDGETS[:1]), "full": (20, BUDGETS)}
    count, limits = sizes[one_of("--preset", preset, sizes)]
    wanted = _whole_numbers("--budgets", budgets) if budgets is not None else limits
    methods = [one_of("--method", m, ENTRANTS) for m in method or ENTRANTS]
    with experiment_room("functions", out, results, as_json=as_json) as room:
        runs = run_functions(
            room.out / "runs.jsonl",
            seeds=range(seeds or count),
            budgets=wanted,
            methods=methods,
            workers=workers,
            progress=room.bars.counting("runs"),
        )
        written = write_functions(room.results, runs, command=command_line())
    room.tell(*written)


@bench.command()
def bm3d(
    pictures: PicturesOption = None,
    gains: GainsOption = None,
    real: Annotated[
        Path | None, typer.Option("--real", metavar="DIR", help="Real noise: pairs NAME_real and NAME_mean.")
    ] = None,
    network: Annotated[bool, typer.Option("--network/--no-network", help="Train the learned rival, too.")] = True,
    crop: CropOption = None,
    most: Annotated[int, typer.Option("--most", min=1, help="Pictures of a noise level on each side.")] = 10,
    budget: BudgetOption = 80,
    method: MethodOption = "auto",
    seed: SeedOption = 0,
    sensor: SensorOption = "sidd-google-pixel",
    out: OutOption = None,
    results: ResultsOption = None,
    as_json: JsonOption = False,
) -> None:
    """BM3D at each noise level: tuned, default, a sweep of sigma, and a small network of the same wall time.

    Needs the package bm3d, which is free for non-commercial use only.

    ispkit bench bm3d --gains 4,16,64 --budget 80
    """
    from ispkit.bench.bm3d import Bm3dBench, run_bm3d

    found = Bm3dBench(
        pictures=folders("--pictures", pictures), real=real, network=network, budget=budget, method=_method(method),
        most=most, seed=seed, sensor=sensor, **_given(gains, crop),
    )  # fmt: skip
    if real is not None:
        folders("--real", [real])
    with experiment_room("bm3d", out, results, as_json=as_json) as room:
        experiment = run_bm3d(room.out, found, command=command_line(), hooks=room.hooks())
    room.write(experiment)


@bench.command()
def tonemap(
    pictures: PicturesOption = None,
    preset: Annotated[str, typer.Option("--preset", help="small: minutes on two cores; paper: for a GPU.")] = "small",
    seed: SeedOption = 0,
    out: OutOption = None,
    results: ResultsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Recover hidden settings of a tone mapper from 19 pictures, through the proxy alone.

    ispkit bench tonemap --preset small
    """
    from ispkit.bench.tonemap import SIZES, run_tonemap

    one_of("--preset", preset, SIZES)
    where = folders("--pictures", pictures)
    with experiment_room("tonemap", out, results, as_json=as_json) as room:
        experiment = run_tonemap(
            room.out, seed=seed, preset=preset, pictures=where or None, command=command_line(), say=room.bars.note
        )
    room.write(experiment)


@bench.command()
def c71(
    pictures: PicturesOption = None,
    gains: GainsOption = None,
    crop: CropOption = None,
    budget: BudgetOption = 300,
    method: MethodOption = "auto",
    option: MethodSetting = None,
    seed: SeedOption = 0,
    sensor: SensorOption = "sidd-google-pixel",
    from_baseline: Annotated[
        bool, typer.Option("--from-baseline", help="Begin at the baseline: how much does it leave to be gained?")
    ] = False,
    out: OutOption = None,
    results: ResultsOption = None,
    as_json: JsonOption = False,
) -> None:
    """c71 with RAW injection, from a random start, against its frozen baseline on held-out scenes.

    ispkit bench c71 --gains 1,16 --budget 300
    """
    from ispkit.bench.c71 import run_c71
    from ispkit.bench.c71_parts import C71Bench

    found = C71Bench(budget=budget, seed=seed, sensor=sensor, from_baseline=from_baseline)
    found = _filled(found, pictures, (gains, crop), (method, option))
    with experiment_room("c71", out, results, as_json=as_json) as room:
        experiment = run_c71(room.out, found, command=command_line(), hooks=room.hooks())
    room.write(experiment)


@bench.command(name="c71-rig")
def c71_rig(
    pictures: PicturesOption = None,
    gains: GainsOption = None,
    crop: CropOption = None,
    budget: BudgetOption = 300,
    method: MethodOption = "auto",
    option: MethodSetting = None,
    seed: SeedOption = 0,
    sensor: SensorOption = "sidd-google-pixel",
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="Run folders, those of `bench c71`.  [default: bench_out/c71]"),
    ] = None,
    results: ResultsOption = None,
    as_json: JsonOption = False,
) -> None:
    """c71 tuned through a simulated screen and camera under three lights, beside RAW injection.

    Searches by injection that `bench c71` made with the same options are used and not made again.

    ispkit bench c71-rig --gains 1,16 --budget 300
    """
    from ispkit.bench.c71_parts import C71Bench
    from ispkit.bench.c71_rig import run_c71_rig

    found = C71Bench(budget=budget, seed=seed, sensor=sensor)
    found = _filled(found, pictures, (gains, crop), (method, option))
    with experiment_room("c71-rig", out or Path("bench_out/c71"), results, as_json=as_json) as room:
        experiment = run_c71_rig(room.out, found, command=command_line(), hooks=room.hooks())
    room.write(experiment)


@bench.command()
def rawtherapee(
    pictures: PicturesOption = None,
    gain: Annotated[float, typer.Option("--gain", min=0.01, help="Gain of the sensor; 1 is ISO 100.")] = 64.0,
    crop: CropOption = None,
    objective: Annotated[str, typer.Option("--objective", "-O", help="As `ispkit tune` takes it.")] = "psnr",
    profile: Annotated[
        Path | None, typer.Option("--profile", metavar="FILE.pp3", help="Rival.  [default: RawTherapee's own]")
    ] = None,
    budget: BudgetOption = 150,
    method: MethodOption = "auto",
    option: MethodSetting = None,
    workers: Annotated[int, typer.Option("--workers", "-w", min=1, help="Renders at a time.")] = 2,
    seed: SeedOption = 0,
    out: OutOption = None,
    results: ResultsOption = None,
    as_json: JsonOption = False,
) -> None:
    """RawTherapee on simulated low light against its default, its own profile, and a sweep of luma denoising.

    ispkit bench rawtherapee --pictures photos/ --gain 64 --budget 150
    """
    from ispkit.bench.rawtherapee import RawTherapeeBench, run_rawtherapee
    from ispkit.cli.tune import read_options

    found = RawTherapeeBench(
        pictures=folders("--pictures", pictures), gain=gain, objective=objective, profile=profile, budget=budget,
        method=_method(method), options=read_options(option or []), workers=workers, seed=seed, **_given(None, crop),
    )  # fmt: skip
    with experiment_room("rawtherapee", out, results, as_json=as_json) as room:
        experiment = run_rawtherapee(room.out, found, command=command_line(), hooks=room.hooks())
    room.write(experiment)


@bench.command()
def detector(
    weights: Annotated[Path, typer.Option("--weights", metavar="FILE.pth", help="Of FastestDet.")],
    data: Annotated[Path, typer.Option("--data", "-d", metavar="DIR", help="Pictures with boxes, as YOLO keeps them.")],
    isp: Annotated[str, typer.Option("--isp", help="As `ispkit tune` takes it.")] = "c71",
    gains: GainsOption = None,
    tunings: Annotated[
        str, typer.Option("--tunings", metavar="NAME,...", help="quality, task, task-score.")
    ] = "quality,task",
    rig: Annotated[bool, typer.Option("--rig", help="Tune on pictures photographed off a simulated screen.")] = False,
    count: Annotated[int | None, typer.Option("--count", min=2, help="Only so many pictures.")] = None,
    budget: BudgetOption = 100,
    method: MethodOption = "auto",
    workers: Annotated[int, typer.Option("--workers", "-w", min=1, help="Processes that render.")] = 1,
    seed: SeedOption = 0,
    out: OutOption = None,
    results: ResultsOption = None,
    as_json: JsonOption = False,
) -> None:
    """An ISP tuned for a frozen detector, against tuned for the eye: objects found and mAP on held-out pictures.

    ispkit bench detector --weights fastestdet.pth --data coco128/ --gains 64
    """
    from ispkit.bench.detector import TUNINGS, DetectorBench, run_detector
    from ispkit.core.errors import FileError

    for flag, there, path in (("--weights", weights.is_file(), weights), ("--data", data.is_dir(), data)):
        if not there:
            raise FileError(f"{flag}: nothing there: {path}")
    names = tuple(one_of("--tunings", word.strip(), TUNINGS) for word in tunings.split(","))
    found = DetectorBench(
        weights=weights, data=data, isp=isp, tunings=names, method=_method(method), budget=budget, seed=seed,
        workers=workers, pictures=count, through="rig" if rig else "injection", **_given(gains, None),
    )  # fmt: skip
    with experiment_room("detector", out, results, as_json=as_json) as room:
        experiment = run_detector(room.out, found, command=command_line(), say=room.bars.note)
    room.write(experiment)


@bench.command()
def style(
    look: Annotated[str, typer.Option("--look", help="sharp-contrast or another one of `ispkit tune --list`.")] = (
        "sharp-contrast"
    ),
    pictures: PicturesOption = None,
    gains: GainsOption = None,
    crop: CropOption = None,
    budget: BudgetOption = 150,
    method: MethodOption = "auto",
    option: MethodSetting = None,
    seed: SeedOption = 0,
    sensor: SensorOption = "sidd-google-pixel",
    out: OutOption = None,
    results: ResultsOption = None,
    as_json: JsonOption = False,
) -> None:
    """c71 tuned from its baseline towards a look, with a strip of held-out pictures.

    ispkit bench style --look sharp-contrast --budget 150
    """
    from ispkit.bench.style import StyleBench, run_style
    from ispkit.tune.objectives.style import LOOKS

    found = StyleBench(look=one_of("--look", look, LOOKS), budget=budget, seed=seed, sensor=sensor)
    found = _filled(found, pictures, (gains, crop), (method, option))
    with experiment_room("style", out, results, as_json=as_json) as room:
        experiment = run_style(room.out, found, command=command_line(), hooks=room.hooks())
    room.write(experiment)


def _filled(
    found: Any, pictures: list[Path] | None, shot: tuple[str | None, str | None], search: tuple[str, list[str] | None]
) -> Any:
    """With the options that the experiments on c71 share."""
    from ispkit.cli.tune import read_options

    where, options = folders("--pictures", pictures), read_options(search[1] or [])
    return replace(found, pictures=where, method=_method(search[0]), options=options, **_given(*shot))


def _method(name: str) -> str:
    from ispkit.tune.methods import method_of

    method_of(name)
    return name


def _given(gains: str | None, crop: str | None) -> dict[str, Any]:
    """Those that were typed, so that each experiment keeps its own defaults."""
    from ispkit.cli.tune import read_numbers, read_size
    from ispkit.core.errors import ParamError

    numbers, size = read_numbers("--gains", gains), read_size("--crop", crop)
    if numbers is not None and min(numbers) <= 0:
        raise ParamError(f"--gains {gains}: a gain is above 0; 1 is ISO 100")
    given = {"gains": None if numbers is None else tuple(numbers), "crop": None if size is None else tuple(size)}
    return {name: value for name, value in given.items() if value is not None}


def _whole_numbers(flag: str, text: str) -> tuple[int, ...]:
    from ispkit.cli.tune import read_numbers
    from ispkit.core.errors import ParamError

    found = read_numbers(flag, text) or []
    if not all(n >= 1 and float(n).is_integer() for n in found):
        raise ParamError(f"{flag} {text}: write whole numbers with commas, such as 200,500")
    return tuple(int(n) for n in found)
