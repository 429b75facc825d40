"""`ispkit evaluate`: several ISPs on RAW files with known pictures."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from ispkit.data.scenes import Scene
    from ispkit.data.tuning_sets import FolderScenes
    from ispkit.isp.pipeline import ISP

RESULT, PICTURES = "result.json", "pictures"
_SIDE = 1024
"""longest edge of a picture on a strip, px"""


def evaluate(
    isps: Annotated[
        list[str],
        typer.Option("--isp", "-i", help="Weights (.safetensors), a preset, a recipe, rawtherapee, ...; repeatable."),
    ],
    data: Annotated[Path, typer.Option("--data", "-d", help="Folder of RAW files, with their pictures; or --targets.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the result.")],
    targets: Annotated[
        Path | None,
        typer.Option("--targets", "-t", help="Folder of pictures of the same names; default: beside the RAW files."),
    ] = None,
    metrics: Annotated[
        str, typer.Option("--metrics", "-m", metavar="NAME,...", help="As `ispkit compare` names them, scielab, de00.")
    ] = "psnr,ssim,scielab,de00",
    stretch: Annotated[
        bool, typer.Option("--stretch", help="Stretch each luminance histogram first, 5 % cut at either end.")
    ] = False,
    crop: Annotated[
        str | None, typer.Option("--crop", metavar="W,H", help="Only the middle of each picture, even px.")
    ] = None,
    pictures: Annotated[bool, typer.Option("--pictures/--no-pictures", help="Write the pictures side by side.")] = True,
    page: Annotated[bool, typer.Option("--page", help="Also a page a picture to compare the first two ISPs.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Judge ISPs by pictures that are known, with intervals that are paired by picture.

    The first ISP is the one that the others are compared with. The folder gets result.json, which holds every number,
    and strips of the pictures: each ISP in the order given, then the target. An interrupted run goes on after the last
    finished picture.

    The folder is one that `ispkit train` reads: RAW+JPEG as cameras write them, folders within included. A pair that
    cannot be read is told, left out and counted.

    Example: two trained networks and a tuned pipeline, judged as in the low-light study of DeepISP.

    ispkit evaluate -i camera-like -i cameranet.safetensors -i deepisp.safetensors -d test/ -o judged/ --stretch
    """
    from ispkit.cli.jobs import make_folder
    from ispkit.core.errors import ParamError
    from ispkit.data.tuning_sets import FolderScenes
    from ispkit.report.evaluate import LOG, Judging
    from ispkit.report.evaluate import evaluate as run

    judging = Judging(tuple(name.strip() for name in metrics.split(",") if name.strip()), stretch)
    opened = open_all(isps)
    if page and len(opened) < 2:
        raise ParamError("--page compares two ISPs; give --isp twice")
    scenes = FolderScenes(data, targets, crop=_size(crop))
    make_folder(out)
    viewer = Strips(out, stretch=stretch, page=page) if pictures or page else None
    result = run(opened, _shown(scenes, quiet=as_json), judging, log=out / LOG, viewer=viewer)
    found = {**_origin(opened, isps, data, targets), **result, "skipped": dict(scenes.bad)}
    _finish(out, found, as_json=as_json)


class Strips:
    """Writes the pictures of a scene side by side: each ISP, then the target; perhaps a page of the first two."""

    def __init__(self, out: Path, *, stretch: bool, page: bool) -> None:
        self.folder, self.stretch, self.page = out / PICTURES, stretch, page

    def missing(self, name: str) -> bool:
        """Whether a file of this scene is not there."""
        wanted = [self.folder / f"{name}.png", *([self.folder / f"{name}.html"] if self.page else [])]
        return not all(path.is_file() for path in wanted)

    def show(self, scene: Scene, pictures: Mapping[str, Any]) -> None:
        """Write them, stretched where they are judged so."""
        import numpy as np

        from ispkit.cli.jobs import make_folder
        from ispkit.io.pictures import write_picture
        from ispkit.isp.develop import scaled
        from ispkit.isp.tiled import codes
        from ispkit.ops.stretch import stretch_luminance

        make_folder((self.folder / scene.name).parent)  # names of pairs may hold folders
        shown = {**pictures, "target": scene.target}
        shown = {label: stretch_luminance(p) if self.stretch else p for label, p in shown.items()}
        strip = [scaled(codes(p[0]), _SIDE) for p in shown.values()]
        write_picture(self.folder / f"{scene.name}.png", np.concatenate(strip, axis=1))
        if self.page:
            self._write_page(scene.name, shown)

    def _write_page(self, name: str, shown: Mapping[str, Any]) -> None:
        from ispkit.report.compare import compare_pictures
        from ispkit.report.compare_page import write_page

        first, second, *_ = shown
        chosen = {"A": first, "B": second, "R": "target"}
        arrays = {k: shown[label][0].permute(1, 2, 0).numpy() for k, label in chosen.items()}
        result = compare_pictures(arrays["A"], arrays["B"], arrays["R"])
        write_page(self.folder / f"{name}.html", arrays, result, names=chosen, title=name)


def open_all(names: Sequence[str]) -> dict[str, ISP]:
    """The ISPs by label: a file's stem or the name, with a number where two are alike."""
    from ispkit.isp.catalog import open_isp

    found: dict[str, ISP] = {}
    for name in names:
        stem = Path(name).stem if Path(name).suffix else name
        label = next(c for c in (stem, *(f"{stem}-{i}" for i in range(2, len(names) + 2))) if c not in found)
        found[label] = open_isp(name)
    return found


def _size(text: str | None) -> tuple[int, int] | None:
    """`W,H` as (height, width)."""
    from ispkit.core.errors import ParamError

    if text is None:
        return None
    words = [word.strip() for word in text.split(",")]
    sides = [int(word) for word in words if word.isdecimal()]
    if len(sides) != len(words) or len(sides) != 2 or min(sides) < 2 or any(side % 2 for side in sides):
        raise ParamError(f"--crop {text!r} is not W,H in even numbers of px, as in 512,384")
    return sides[1], sides[0]


def _shown(scenes: FolderScenes, *, quiet: bool) -> Iterable[Scene]:
    """The scenes with a progress bar."""
    if quiet or len(scenes) < 2:
        return scenes
    from rich.console import Console
    from rich.progress import track

    return track(scenes, "evaluating", total=len(scenes), console=Console(stderr=True))


def _origin(opened: Mapping[str, Any], names: Sequence[str], data: Path, targets: Path | None) -> dict[str, Any]:
    """What was judged on what, and where."""
    from ispkit.bench.experiment import environment
    from ispkit.isp.learned.weights import read_card

    made = {}
    for label, name in zip(opened, names, strict=True):
        card = asdict(read_card(name)) if name.lower().endswith(".safetensors") else None
        made[label] = {"isp": name, **({"card": card} if card else {})}
    where = {"data": str(data), "targets": str(targets or data)}
    return {"environment": environment(), **where, "opened": made}


def _finish(out: Path, result: Mapping[str, Any], *, as_json: bool) -> None:
    """Write the result, and print the table."""
    from ispkit.io.atomic import write_bytes
    from ispkit.report.evaluate import difference_rows, mean_rows

    text = json.dumps(result, indent=1, ensure_ascii=False)
    write_bytes(out / RESULT, (text + "\n").encode())
    if as_json:
        print(text)
        return
    from rich.console import Console

    console = Console()
    for rows in (mean_rows(result), difference_rows(result)):
        if rows:
            console.print(_table(rows), "")
    left_out = f", {len(result['skipped'])} left out" if result["skipped"] else ""
    count = len(result["pictures"])
    console.print(
        f"{count} picture{'s' * (count != 1)}{left_out}; ± half a 95 % interval; * a difference beyond chance"
    )
    console.print(f"Written: {out / RESULT}", markup=False, highlight=False)


def _table(rows: Sequence[Mapping[str, str]]) -> Table:
    """Numbers are never broken over two lines; the ISP's name is where there is no room."""
    from rich.markup import escape
    from rich.table import Column, Table

    first, *numbers = rows[0]
    table = Table(first, *(Column(n, no_wrap=True) for n in numbers), box=None, header_style="bold", padding=(0, 1))
    for row in rows:
        table.add_row(*(escape(cell) for cell in row.values()))
    return table
