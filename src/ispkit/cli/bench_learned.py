"""`ispkit bench ...`: the experiments on learned ISPs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ispkit.cli.bench import JsonOption, OutOption, PicturesOption, ResultsOption, SeedOption
from ispkit.cli.bench_output import command_line, experiment_room, folders

if TYPE_CHECKING:
    from ispkit.bench.learned_parts import LearnedBench, Watch
    from ispkit.cli.tuning_bars import Bars

TrainOption = Annotated[
    list[Path] | None,
    typer.Option("--train", metavar="DIR", help="Pictures to learn from; repeatable.  [default: made here]"),
]
TestOption = Annotated[
    list[Path] | None, typer.Option("--test", metavar="DIR", help="Pictures that no network sees; repeatable.")
]
SecondsOption = Annotated[float, typer.Option("--seconds", min=1, help="Of processor time for each training.")]
SeedsOption = Annotated[int, typer.Option("--seeds", min=1, help="Trainings of each network.")]
PatchOption = Annotated[int, typer.Option("--patch", min=32, help="Side of a training patch, px.")]
BatchOption = Annotated[int, typer.Option("--batch", min=1, help="Patches a step.")]
MostOption = Annotated[int, typer.Option("--most", min=1, help="Pictures to test on.")]


def histogram(
    pictures: PicturesOption = None,
    seed: SeedOption = 0,
    out: OutOption = None,
    results: ResultsOption = None,
    as_json: JsonOption = False,
) -> None:
    """How much restoring and enhancing change a picture's histogram: the case for two stages.

    ispkit bench histogram -p bsd100/
    """
    from ispkit.bench.histogram import run_histogram

    where = folders("--pictures", pictures)
    with experiment_room("histogram", out, results, as_json=as_json) as room:
        experiment = run_histogram(room.out, pictures=where, seed=seed, command=command_line())
    room.write(experiment)


def learned_ll(
    train: TrainOption = None,
    test: TestOption = None,
    seconds: SecondsOption = 1200.0,
    seeds: SeedsOption = 3,
    patch: PatchOption = 64,
    batch: BatchOption = 8,
    most: MostOption = 12,
    curves: Annotated[bool, typer.Option("--curves/--no-curves", help="Also other depths and widths.")] = True,
    seed: SeedOption = 0,
    out: OutOption = None,
    results: ResultsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Joint denoising and demosaicing: DeepISP's low-level half beside a modern network and classical methods.

    ispkit bench learned-ll --train bsd100/ --test kodak24/ --seconds 1200
    """
    from ispkit.bench.learned_ll import run_learned_ll

    found = _bench((train, test), seconds=seconds, seeds=seeds, patch=patch, batch=batch, most=most, seed=seed)
    with experiment_room("learned-ll", out, results, as_json=as_json) as room:
        experiment = run_learned_ll(room.out, found, command=command_line(), curves=curves, watch=watch(room.bars))
    room.write(experiment)


def learned_full(
    train: TrainOption = None,
    test: TestOption = None,
    seconds: SecondsOption = 1200.0,
    seeds: SeedsOption = 3,
    patch: PatchOption = 64,
    batch: BatchOption = 8,
    most: MostOption = 12,
    seed: SeedOption = 0,
    out: OutOption = None,
    results: ResultsOption = None,
    as_json: JsonOption = False,
) -> None:
    """The whole ISP in low light: CameraNet, its ablations, DeepISP and rivals; another camera; over-fitting.

    ispkit bench learned-full --train bsd100/ --test kodak24/ --seconds 1200
    """
    from ispkit.bench.learned_full import run_learned_full

    found = _bench((train, test), seconds=seconds, seeds=seeds, patch=patch, batch=batch, most=most, seed=seed)
    with experiment_room("learned-full", out, results, as_json=as_json) as room:
        experiment = run_learned_full(room.out, found, command=command_line(), watch=watch(room.bars))
    room.write(experiment)


def mimic(
    teacher: Annotated[str, typer.Option("--teacher", help="An ISP: libraw, rawtherapee, recipe.yaml, ...")] = "libraw",
    pairs: Annotated[int, typer.Option("--pairs", min=8, help="RAW files to learn from.")] = 200,
    train: TrainOption = None,
    test: TestOption = None,
    seconds: SecondsOption = 1200.0,
    seeds: SeedsOption = 3,
    patch: PatchOption = 64,
    batch: BatchOption = 8,
    seed: SeedOption = 0,
    out: OutOption = None,
    results: ResultsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Learn to be another ISP from its pictures of 200 RAW files, beside a pipeline whose knobs are tuned.

    ispkit bench mimic --teacher rawtherapee --train bsd100/ --test kodak24/
    """
    from ispkit.bench.mimic import MimicBench, run_mimic

    plain = _bench((train, test), seconds=seconds, seeds=seeds, patch=patch, batch=batch, seed=seed)
    found = MimicBench(teacher=teacher, pairs=pairs, **vars(plain))
    with experiment_room("mimic", out, results, as_json=as_json) as room:
        experiment = run_mimic(room.out, found, command=command_line(), watch=watch(room.bars))
    room.write(experiment)


def lowlight_people(
    train: TrainOption = None,
    test: TestOption = None,
    seconds: SecondsOption = 1200.0,
    seeds: SeedsOption = 3,
    patch: PatchOption = 64,
    batch: BatchOption = 8,
    most: MostOption = 12,
    seed: SeedOption = 0,
    out: OutOption = None,
    results: ResultsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Low light for people: the Anscombe network beside U-Nets, a modern network and a tuned classical ISP.

    ispkit bench lowlight-people --train bsd100/ --test kodak24/ --seconds 1200
    """
    from ispkit.bench.lowlight_people import run_people

    found = _bench((train, test), seconds=seconds, seeds=seeds, patch=patch, batch=batch, most=most, seed=seed)
    with experiment_room("lowlight-people", out, results, as_json=as_json) as room:
        experiment = run_people(room.out, found, command=command_line(), watch=watch(room.bars))
    room.write(experiment)


def watch(bars: Bars) -> Watch:
    """One bar for each phase of each training."""
    from ispkit.train.journal import Hooks

    def hooks(title: str) -> Hooks:
        return Hooks(bars.training(title), bars.note)

    return hooks


def _bench(where: tuple[list[Path] | None, list[Path] | None], **told: Any) -> LearnedBench:
    from ispkit.bench.learned_parts import LearnedBench

    train, test = where
    return LearnedBench(train=folders("--train", train), test=folders("--test", test), **told)
