"""`ispkit bench dir-tasks`: degradation-independent representations before a frozen detector or segmenter."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ispkit.cli.bench import JsonOption, OutOption, ResultsOption, SeedOption
from ispkit.cli.bench_learned import SecondsOption, watch
from ispkit.cli.bench_output import command_line, experiment_room, folders, one_of

if TYPE_CHECKING:
    from ispkit.data.labelled_set import LabelledPictures

_HEADS = {"detect": "fastestdet", "segment": "deeplab-v3"}


def dir_tasks(
    task: Annotated[str, typer.Option("--task", help="detect: pictures with boxes; segment: with regions.")],
    data: Annotated[Path, typer.Option("--data", metavar="DIR", help="Labelled pictures: YOLO, or regions.")],
    weights: Annotated[
        Path, typer.Option("--head-weights", metavar="FILE", help="Of FastestDet (detect) or DeepLabv3 (segment).")
    ],
    start: Annotated[
        Path | None,
        typer.Option("--start", metavar="DIR", help="Run folders of `bench dir`.  [default: trained here first]"),
    ] = None,
    train: Annotated[
        list[Path] | None,
        typer.Option("--train", metavar="DIR", help="Clean pictures to begin with, without --start; repeatable."),
    ] = None,
    condition: Annotated[
        list[str] | None,
        typer.Option("--condition", metavar="NAME", help="Degradations; repeatable.  [default: default, dark]"),
    ] = None,
    size: Annotated[int, typer.Option("--size", min=64, help="Side of the pictures, px, a multiple of 16.")] = 256,
    seconds: SecondsOption = 600.0,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Pictures a step.")] = 4,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Trainings of each network on each fold.")] = 3,
    folds: Annotated[int, typer.Option("--folds", min=2, help="Parts of the pictures; each is held out once.")] = 2,
    renders: Annotated[int, typer.Option("--renders", min=10, help="Of the pictures of a fold, for knobs.")] = 100,
    seed: SeedOption = 0,
    out: OutOption = None,
    results: ResultsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Does a frozen detector or segmenter gain from DiR on badly processed pictures: before, after, rivals.

    ispkit bench dir-tasks --task detect --data coco128/ --head-weights fastestdet.pth --start bench_out/dir_paper

    ispkit bench dir-tasks --task segment --data coco128/ --head-weights deeplab.tflite --train kodak24/
    """
    from ispkit.bench.dir_tasks import run_dir_tasks
    from ispkit.bench.dir_tasks_methods import TasksBench

    head: dict[str, Any] = {"name": _HEADS[one_of("--task", task, _HEADS)], "weights": [str(weights.absolute())]}
    head |= {"size": size + 1} if task == "segment" else {}  # DeepLab's cells are 16 px apart, corners included
    (begin,) = folders("--start", [start]) if start is not None else (None,)
    bench = TasksBench(
        pictures=_pictures(data, task, head),
        told=data.name,
        head=head,
        conditions=tuple(condition or ("default", "dark")),
        start=None if begin is None else Path(begin),
        train=folders("--train", train),
        size=size,
        seconds=seconds,
        batch=batch,
        seeds=seeds,
        folds=folds,
        renders=renders,
        seed=seed,
    )
    with experiment_room(f"dir_tasks_{task}", out, results, as_json=as_json) as room:
        experiment = run_dir_tasks(room.out, bench, command=command_line(), watch=watch(room.bars), say=room.bars.note)
    room.write(experiment)


def _pictures(data: Path, task: str, head: dict[str, Any]) -> LabelledPictures:
    """The pictures with the head's labels. Raises `FileError`."""
    from ispkit.data.regions import COCO_AS_VOC
    from ispkit.perceive.heads import open_head
    from ispkit.train.labelled_source import read_labelled

    names = open_head(head["name"], **{k: v for k, v in head.items() if k != "name"}).names
    if task == "detect":
        return read_labelled(str(data), "boxes").renamed(names)
    return read_labelled(str(data), "regions").renamed(names, same=COCO_AS_VOC, other=0)
