"""`ispkit train`: a learned ISP from a recipe, interrupted anywhere and gone on with."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from ispkit.cli.tuning_bars import Bars
    from ispkit.train.config import Recipe
    from ispkit.train.job import Trained


def _list(wanted: bool) -> None:
    """Print what can be named on the command line."""
    if not wanted:
        return
    from ispkit.data.degrade import DEGRADATIONS
    from ispkit.isp.learned.catalog import names, options_of
    from ispkit.perceive.heads import HEADS
    from ispkit.train.config import SAME, TASK
    from ispkit.train.losses import LOSSES
    from ispkit.train.net_losses import NET_LOSSES
    from ispkit.train.recipe import read_recipe, recipe_names
    from ispkit.train.sources import SOURCES

    print("recipes:")
    for name in recipe_names():
        print(f"  {name:18} {read_recipe(name)['doc']}")
    print("learned ISPs (--set isp.OPTION=VALUE; the first value is the default, numbers are those of preset paper):")
    for name in names():
        print(f"  {name:22} {' '.join(f'{k}={v}' for k, v in options_of(name).items())}")
    print(f"heads (--set head=NAME): {', '.join(HEADS)}")
    print(f"losses: {', '.join(LOSSES)}; of a head: {TASK}, {SAME}; of the net of dir: {', '.join(NET_LOSSES)}")
    print(f"sources of data: {', '.join(SOURCES)}; degradations: {', '.join(DEGRADATIONS)}")
    raise typer.Exit


def train(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe's file, or the name of one that ships.")],
    data: Annotated[
        Path | None,
        typer.Option("--data", "-d", metavar="DIR", help="Folder of RAW files with pictures, or of pictures."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", metavar="PLACE=VALUE", help="Of the recipe, such as phases.0.steps=100."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="RUN", help="Folder of the training.")] = Path(
        "train_run"
    ),
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="In place of the recipe's.")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only look at every pair: which are damaged, of another size, shifted?")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    listing: Annotated[
        bool,
        typer.Option("--list", callback=_list, is_eager=True, help="List recipes, ISPs, losses and sources."),
    ] = False,
) -> None:
    """Train a learned ISP; the folder then holds weights.safetensors, log.jsonl and curves.png.

    Run the same command again to go on after Ctrl-C or a crash: phases counted in steps end with the same weights as
    without the break. Another recipe in the same folder is refused.

    Example: your own RAW+JPEG pairs, as the camera wrote them; then render with what was learned.

    ispkit train cameranet --data DCIM/ -o run/

    ispkit render photo.dng --isp run/weights.safetensors -o photo.png

    ispkit train cameranet --data DCIM/ --check

    Example: RAW made of finished pictures on the fly, less long.

    ispkit train deepisp-ll --data photos/ --set phases.0.steps=2000 -o run/

    Example: learn to be RawTherapee, from RAW files alone.

    ispkit train mimic --data raws/ --set data.isp=rawtherapee -o run/

    Example: an ISP and a classifier that learn together to see in the dark, from a folder a class.

    ispkit train joint --data pictures/ --set data.level="2-20 lux" -o run/

    Example: two processes that share each batch.

    torchrun --nproc-per-node 2 -m ispkit train deepisp --data DCIM/ --set phases.0.batch=2 -o run/
    """
    from rich.console import Console

    from ispkit.cli.tuning_bars import Bars
    from ispkit.train.job import run_job
    from ispkit.train.journal import Hooks

    chosen = _recipe(recipe, data, settings or [], seed)
    first = os.environ.get("RANK", "0") == "0"
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    with Bars(console, quiet=as_json or not first) as bars, _asked_to_stop() as stop:
        if check:
            _look(chosen, out, bars, as_json=as_json)
            return
        hooks = Hooks(bars.training(), bars.note, _ending(bars.counting("rendering targets"), stop), stop)
        try:
            trained = run_job(chosen, out, device=device, hooks=hooks)
        except KeyboardInterrupt:
            bars.note(f"{out}: stopped; what was learned is kept, the same command goes on")
            raise SystemExit(130) from None
    if first:
        _tell(trained, console, as_json=as_json)


def _look(recipe: Recipe, out: Path, bars: Bars, *, as_json: bool) -> None:
    """Print what is wrong with the pairs."""
    from ispkit.train.run_folder import TrainFolder
    from ispkit.train.sources import check_data

    report = check_data(recipe, TrainFolder(out).targets, bars.counting("looking at pairs"))
    print(json.dumps(report.facts()) if as_json else report.text())


def _recipe(name: str, data: Path | None, settings: list[str], seed: int | None) -> Recipe:
    """The recipe with what the command line says over it."""
    from ispkit.core.errors import FileError
    from ispkit.train.recipe import load_recipe, read_recipe
    from ispkit.train.sources import folder_option

    said = list(settings)
    if data is not None:
        source = (read_recipe(name).get("data") or {}).get("source", "pairs")
        if str(data) != "project" and not data.is_dir():
            raise FileError(f"--data {data}: no such folder")
        said.append(f"data.{folder_option(source)}={json.dumps(str(data))}")
    if seed is not None:
        said.append(f"seed={seed}")
    return load_recipe(name, said)


@contextmanager
def _asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C came: the step under way is ended and a checkpoint written; a second one ends at once."""
    came: list[int] = []

    def handle(number: int, _: object) -> None:
        came.append(number)
        if len(came) > 1:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield lambda: bool(came)
    finally:
        signal.signal(signal.SIGINT, before)


def _ending(told: Callable[[int, int], None], stop: Callable[[], bool]) -> Callable[[int, int], None]:
    """The same, which Ctrl-C ends between two pictures; those that are rendered stay."""

    def tell(done: int, total: int) -> None:
        told(done, total)
        if stop():
            raise KeyboardInterrupt

    return tell


def _tell(trained: Trained, console: Console, *, as_json: bool) -> None:
    from ispkit.cli.tuning_bars import duration
    from ispkit.train.journal import worded

    if as_json:
        print(json.dumps({**trained.facts, "weights": str(trained.weights)}))
        return
    for name, facts in trained.facts.get("phases", {}).items():
        held = f", {worded(facts)}" if worded(facts) else ""
        console.print(f"{name:12} {facts['steps']} steps in {duration(facts['seconds'])}{held}", markup=False)
    console.print(f"\nweights: {trained.weights}", markup=False)
    console.print(_use(trained.weights), markup=False)


def _use(weights: Path) -> str:
    """The command that the weights are for."""
    from ispkit.core.frame import Domain
    from ispkit.isp.learned.weights import load_learned, read_card

    if read_card(weights).name and load_learned(weights)[0].reads is Domain.DISPLAY_RGB:
        return f"restore: ispkit restore photo.jpg --isp {weights}"
    return f"render:  ispkit render photo.dng --isp {weights} -o photo.png"
