"""`ispkit demo`: see RAW files developed and an ISP tuned, the shortest way."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

# Real files that stand beside a checkout; anybody else gets the toolkit's own simulated camera.
BESIDE = Path("../shared/data")
SAMPLES = (
    ("raw_gopro_hero7/gopro_hero7_crop1536x1024.dng", None),
    ("raw_dng/Blackmagic.dng", None),
    (
        "raw_infinite_isp_8bit_grbg/Outdoor1_2592x1536_8bit_GRBG.raw",
        "raw_infinite_isp_8bit_grbg/Outdoor1_2592x1536_10bit_GRBG-configs.yml",
    ),
)
LOOKS: dict[str, list[str]] = {"neutral": [], "camera-like": ["exposure.auto=log_average"]}


def demo(
    raws: Annotated[list[Path] | None, typer.Argument(metavar="[RAW...]", help="Your own RAW files.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the pictures.")] = Path("demo_out"),
    tune: Annotated[bool, typer.Option("--tune/--no-tune", help="Then tune an ISP, in under three minutes.")] = True,
) -> None:
    """Develop RAW files in two looks, write a page that compares them, then tune a black-box ISP for low light.

    Without files it takes the samples beside the checkout, or makes RAW files with a simulated camera.

    Examples: `ispkit demo` · `ispkit demo IMG_0001.dng -o out`
    """
    from rich.console import Console

    from ispkit.cli import jobs
    from ispkit.core.errors import FileError

    console = Console(highlight=False, soft_wrap=True)
    samples = [(raw, None) for raw in raws or []] or _samples() or _simulated(out, console)
    names = [target.stem for target in jobs.targets_in([raw for raw, _ in samples], out, ".png")]
    refused = 0
    for (raw, sidecar), name in zip(samples, names, strict=True):
        refused += not _develop(raw, sidecar, out / name, console)
    if refused == len(samples):
        raise FileError("no picture was made; the lines above say why")
    console.print(f"\nThe pictures and a comparison page for each file are in {out.resolve()}", markup=False)
    if tune:
        from ispkit.cli.demo_tuning import tune_demo

        tune_demo(out / "tuning", console)
    if refused:
        raise typer.Exit(2)


def _samples() -> list[tuple[Path, Path | None]]:
    found = [(BESIDE / raw, BESIDE / sidecar if sidecar else None) for raw, sidecar in SAMPLES]
    return [(raw, sidecar) for raw, sidecar in found if raw.is_file()]


def _simulated(out: Path, console: Console) -> list[tuple[Path, Path | None]]:
    from ispkit.cli.jobs import make_folder
    from ispkit.data.demo import write_demo_raws

    console.print("no sample files here: a simulated camera takes three pictures as DNG files")
    make_folder(out / "raw")
    return [(path, None) for path in write_demo_raws(out / "raw")]


def _develop(raw: Path, sidecar: Path | None, target: Path, console: Console) -> bool:
    """The pictures of one file, one a look, and a page that flips between them; False if it was refused."""
    from ispkit.cli import jobs

    console.print(f"{raw}", markup=False)
    jobs.make_folder(target.parent)
    pictures: list[str] = []
    for look, settings in LOOKS.items():
        picture = target.with_name(f"{target.name}_{look}.png")
        plan = jobs.plan([raw], picture, look=jobs.look(look, None, settings), output=jobs.Output(), sidecar=sidecar)
        (outcome,) = jobs.run_all(plan, quiet=True)
        if outcome.error:
            console.print(f"  refused: {outcome.error}", markup=False)
            return False
        console.print(
            f"  {look:12} {outcome.width}x{outcome.height}  {outcome.seconds:5.1f} s  {picture}", markup=False
        )
        pictures.append(outcome.picture)
    _write_page(target.with_name(f"{target.name}.html"), pictures)
    return True


def _write_page(path: Path, pictures: list[str]) -> None:
    from ispkit.report.compare import Options, compare_pictures
    from ispkit.report.compare_page import write_page
    from ispkit.report.load import load_srgb

    shown = {label: load_srgb(name) for label, name in zip("AB", pictures, strict=True)}
    result = compare_pictures(shown["A"], shown["B"], None, Options(metrics=["psnr", "delta_e00"]))
    write_page(path, shown, result, names=dict(zip("AB", LOOKS, strict=True)), title=path.stem)
