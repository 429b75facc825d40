"""`ispkit lowlight`: every way from a dark RAW to an answer, on a user's own labelled pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ispkit.cli.bench import JsonOption, OutOption, ResultsOption, SeedOption
from ispkit.cli.bench_learned import watch
from ispkit.cli.bench_output import command_line, experiment_room, one_of

if TYPE_CHECKING:
    from ispkit.data.labelled_set import LabelledPictures

_KINDS = ("classes", "boxes", "regions")
_LIGHTS = ("linear", "encoded")


def lowlight(
    pictures: Annotated[
        Path, typer.Argument(metavar="PICTURES", help="Folder or zip: a folder a class, labels.tsv, YOLO, or regions.")
    ],
    head: Annotated[
        str, typer.Option("--head", help="mobilenet-v1, mobilenet-v2, fastestdet, deeplab-v3, module:file.py:function.")
    ] = "mobilenet-v1",
    weights: Annotated[
        list[str] | None,
        typer.Option(
            "--weights", "-w", metavar="FILE", help="Of the head; without, it first learns from clean pictures."
        ),
    ] = None,
    options: Annotated[
        list[str] | None, typer.Option("--option", metavar="NAME=VALUE", help="Of the head, such as width=0.25.")
    ] = None,
    other: Annotated[
        str | None, typer.Option("--other", help="Another network, from scratch.  [default: mobilenet-v2 beside v1]")
    ] = None,
    also: Annotated[
        list[str] | None, typer.Option("--isp", "-i", help="Another ISP: rawtherapee, libraw, recipe.yaml; repeatable.")
    ] = None,
    captured: Annotated[
        Path | None,
        typer.Option("--captured", metavar="DIR", help="RAW files in a folder a class, to judge on as well."),
    ] = None,
    captured_noise: Annotated[
        str | None,
        typer.Option("--captured-noise", metavar="ALPHA,SIGMA", help="Of them; default: what the files say."),
    ] = None,
    kind: Annotated[str, typer.Option("--kind", help="What the labels are: classes, boxes, regions.")] = "classes",
    levels: Annotated[
        list[str] | None, typer.Option("--level", metavar="LUX", help="Light, such as '2-20 lux'; repeatable.")
    ] = None,
    light: Annotated[
        str, typer.Option("--light", help="linear, or encoded: encoded values are taken for light, as in the paper.")
    ] = "linear",
    size: Annotated[int, typer.Option("--size", min=32, help="Side of the RAW, px, even.")] = 128,
    seconds: Annotated[float, typer.Option("--seconds", min=1, help="Of processor time for each training.")] = 1200.0,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Pictures a step.")] = 32,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Trainings of each method, each with its own fold.")] = 3,
    folds: Annotated[int, typer.Option("--folds", min=2, help="Parts of the pictures, one of them held out.")] = 5,
    most: Annotated[int, typer.Option("--most", min=8, help="Pictures to judge on, of each fold.")] = 1000,
    renders: Annotated[int, typer.Option("--renders", min=10, help="Where knobs are tuned.")] = 150,
    ablations: Annotated[
        bool, typer.Option("--ablations/--no-ablations", help="Also changed networks, other conditions, and blur.")
    ] = True,
    seed: SeedOption = 0,
    out: OutOption = None,
    results: ResultsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Which way from a dark RAW to an answer is best: no ISP, a classical one, a learned one, or all learned jointly?

    The same pictures are made RAW under the same simulated light for every method, and every method has the same time
    to learn. Run the same command again to go on after Ctrl-C.

    Example: pictures in a folder a class, a MobileNet that first learns from them in the light.

    ispkit lowlight pictures/ --size 64 --option width=0.25 --level "2-20 lux" --seconds 300

    Example: a pretrained classifier, judged in the dark and fine-tuned for it.

    ispkit lowlight imagenet/ --weights weights/ --option width=1.0 --level "3 lux" --level "2-200 lux"

    Example: also RawTherapee and LibRaw, as they come and with the head fine-tuned behind them.

    ispkit lowlight imagenet/ --weights weights/ -i rawtherapee -i libraw --no-ablations

    Example: a detector.

    ispkit lowlight coco128/ --kind boxes --head fastestdet --weights weight_AP05.pth --size 352 --no-ablations
    """
    from ispkit.bench.lowlight import run_lowlight
    from ispkit.bench.lowlight_captured import captured_pictures
    from ispkit.bench.lowlight_parts import LowLightBench
    from ispkit.isp.catalog import open_isp
    from ispkit.train.labelled_source import read_labelled

    for name in also or ():
        open_isp(name)  # one that is not there is told before the work
    found = read_labelled(str(pictures), one_of("--kind", kind, _KINDS))
    spec = _spec(head, weights, options or [], found)
    bench = LowLightBench(
        pictures=found,
        told=pictures.name,
        head=spec,
        other=_other(other, spec),
        also=tuple(also or ()),
        captured=None if captured is None else captured_pictures(str(captured), found.names, size, captured_noise),
        levels=tuple(levels or ("2-20 lux", "2-200 lux")),
        light=one_of("--light", light, _LIGHTS),  # type: ignore[arg-type]
        patch=(size, size),
        seconds=seconds,
        batch=batch,
        seeds=seeds,
        folds=folds,
        most=most,
        renders=renders,
        seed=seed,
    )
    with experiment_room("lowlight", out, results, as_json=as_json) as room:
        experiment = run_lowlight(
            room.out, bench, command=command_line(), ablations=ablations, watch=watch(room.bars), say=room.bars.note
        )
    room.write(experiment)


def _other(name: str | None, spec: dict[str, Any]) -> dict[str, Any] | None:
    """The other network with the options of the first. Raises `ParamError` for one that is not known."""
    from ispkit.perceive.heads import open_head

    name = name or ("mobilenet-v2" if spec["name"] == "mobilenet-v1" else None)
    if name is None:
        return None
    shared = {k: v for k, v in spec.items() if k != "weights"}
    open_head(name, **{k: v for k, v in shared.items() if k != "name"})
    return {**shared, "name": name}


def _spec(name: str, weights: list[str] | None, options: list[str], pictures: LabelledPictures) -> dict[str, Any]:
    """The head for a recipe; as many classes as the pictures have, unless weights or options say otherwise."""
    import yaml

    from ispkit.core.errors import ParamError

    spec: dict[str, Any] = {"name": name}
    for option in options:
        key, sign, text = option.partition("=")
        if not sign or not key:
            raise ParamError(f"--option {option}: write NAME=VALUE, such as width=0.25")
        spec[key] = yaml.safe_load(text)
    if not weights:
        return {"names": list(pictures.names), **spec}
    if not pictures.sparse and not {"names", "classes"} & set(spec) and pictures.classes:
        raise ParamError(
            f"the pictures have {pictures.classes} classes, and nothing says which of the weights' these are: "
            f"--option classes={pictures.classes} learns them anew; a labels.tsv in the folder tells the numbers"
        )
    return {**spec, "weights": weights}
