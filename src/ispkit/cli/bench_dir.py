"""`ispkit bench dir`: the experiments on degradation-independent representations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ispkit.cli.bench import JsonOption, OutOption, ResultsOption, SeedOption
from ispkit.cli.bench_learned import (
    BatchOption,
    MostOption,
    PatchOption,
    SecondsOption,
    SeedsOption,
    TestOption,
    TrainOption,
    watch,
)
from ispkit.cli.bench_output import command_line, experiment_room, folders

FamilyOption = Annotated[
    str, typer.Option("--family", help="Degradations to learn from: paper, no-jpeg, no-gamma, ...")
]
UnseenOption = Annotated[
    list[str] | None,
    typer.Option("--unseen", metavar="NAME", help="Degradations to be tested on as well.  [default: ablation]"),
]
RealOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--real", metavar="DIR", help="Really noisy pictures with clean ones: NAME_real, NAME_mean; repeatable."
    ),
]
BareOption = Annotated[
    list[Path] | None, typer.Option("--bare", metavar="DIR", help="Really noisy pictures alone, for NIQE; repeatable.")
]
NiqeOption = Annotated[Path | None, typer.Option("--niqe", metavar="FILE", help="The model of NIQE (.npz, .mat).")]


def dir_ablation(
    family: FamilyOption = "paper",
    unseen: UnseenOption = None,
    train: TrainOption = None,
    test: TestOption = None,
    real: RealOption = None,
    bare: BareOption = None,
    niqe: NiqeOption = None,
    seconds: SecondsOption = 1200.0,
    seeds: SeedsOption = 3,
    patch: PatchOption = 64,
    batch: BatchOption = 8,
    most: MostOption = 114,
    seed: SeedOption = 0,
    out: OutOption = None,
    results: ResultsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Blind restoration: DiR, its parts, the auto-encoder and other rivals; seen and unseen degradations.

    ispkit bench dir --train kodak24/ --test set14/ --test bsd100/ --seconds 600

    ispkit bench dir --family no-jpeg --train kodak24/ --test bsd100/ --real polyu_crops/ --bare rni15/ --niqe niqe.npz
    """
    from ispkit.bench.dir import run_dir
    from ispkit.bench.dir_parts import DirBench

    found = DirBench(
        family=family,
        unseen=tuple(unseen or ("ablation",)),
        train=folders("--train", train),
        test=folders("--test", test),
        real=folders("--real", real),
        bare=folders("--bare", bare),
        niqe=niqe,
        seconds=seconds,
        seeds=seeds,
        patch=patch,
        batch=batch,
        most=most,
        seed=seed,
    )
    with experiment_room(f"dir_{family}", out, results, as_json=as_json) as room:
        experiment = run_dir(room.out, found, command=command_line(), watch=watch(room.bars))
    room.write(experiment)


def dir_sensitivity(
    train: TrainOption = None,
    test: TestOption = None,
    seconds: SecondsOption = 200.0,
    seeds: SeedsOption = 1,
    patch: PatchOption = 64,
    batch: BatchOption = 8,
    most: MostOption = 114,
    seed: SeedOption = 0,
    out: OutOption = None,
    results: ResultsOption = None,
    as_json: JsonOption = False,
) -> None:
    """What of DiR depends on trade-offs and sizes that its paper leaves open, one changed at a time.

    ispkit bench dir-sensitivity --train kodak24/ --test bsd100/ --seconds 200
    """
    from ispkit.bench.dir_parts import DirBench
    from ispkit.bench.dir_sensitivity import run_sensitivity

    found = DirBench(
        train=folders("--train", train),
        test=folders("--test", test),
        seconds=seconds,
        seeds=seeds,
        patch=patch,
        batch=batch,
        most=most,
        seed=seed,
    )
    with experiment_room("dir_sensitivity", out, results, as_json=as_json) as room:
        experiment = run_sensitivity(room.out, found, command=command_line(), watch=watch(room.bars))
    room.write(experiment)
