"""`ispkit rig`: a screen and a camera in the loop."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, fields
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

if TYPE_CHECKING:
    from torch import Tensor

    from ispkit.core.frame import Frame
    from ispkit.rig.contracts import Camera, Display
    from ispkit.rig.display_color import DisplayColor
    from ispkit.rig.light_transport import LightTransport

rig = typer.Typer(rich_markup_mode=None, add_completion=False)

HostOption = Annotated[
    str, typer.Option("--host", help="127.0.0.1 for this machine's browser, 0.0.0.0 for any screen of the network.")
]
PortOption = Annotated[int, typer.Option("--port", help="Of the page; 0 takes a free one.")]
TokenOption = Annotated[
    str | None, typer.Option("--token", help="The random word in the address; fixed, a page finds the next run.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


@dataclass(frozen=True)
class Loop:
    """The screen and the camera in the user's words: options of every command that captures."""

    simulate: Annotated[bool, typer.Option("--simulate", help="A simulated screen and camera instead.")] = False
    display: Annotated[
        str, typer.Option("--display", "-d", metavar="DISPLAY", help="browser, browser:NAME, or folder:DIR.")
    ] = "browser"
    camera: Annotated[
        str | None,
        typer.Option(
            "--camera",
            "-c",
            metavar="CAMERA",
            help="rpicam, rpicam-ssh, gphoto2, adb, FILE.yaml, watch:DIR, genicam or genicam:NAME.",
        ),
    ] = None
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A setting of the camera; may be repeated.")
    ] = None
    host: HostOption = "127.0.0.1"
    port: PortOption = 0
    token: TokenOption = None
    size: Annotated[
        str | None,
        typer.Option("--size", metavar="HxW", help="Height x width in pixels of a folder's or the simulated display."),
    ] = None
    settle: Annotated[
        float, typer.Option("--settle", metavar="S", help="Seconds to wait for the panel after each frame.")
    ] = 0.15
    seed: Annotated[int, typer.Option("--seed", help="Pose, lens and noise of the simulated rig.")] = 0

    @property
    def settle_s(self) -> float:
        """Seconds; numbers need none."""
        return 0.0 if self.simulate else self.settle

    def opened(self) -> AbstractContextManager[tuple[Display, Camera]]:
        """The two, closed at the end."""
        from ispkit.core.errors import ParamError
        from ispkit.rig.specs import CAMERAS, RigSpec, opened, parse_settings, parse_size

        if not self.simulate and self.camera is None:
            raise ParamError(f"which camera? give --camera ({', '.join(CAMERAS[:-1])}), or try --simulate")
        spec = RigSpec(
            display="simulated" if self.simulate else self.display,
            camera="simulated" if self.simulate else str(self.camera),
            settings=parse_settings(self.settings or []),
            host=self.host,
            port=self.port,
            token=self.token,
            display_size=parse_size(self.size) if self.size else None,
            seed=self.seed,
            announce=lambda address: typer.echo(f"open {address} on the screen and press F", err=True),
        )
        return opened(spec)


def in_the_loop(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the options of `Loop` in place of its parameter `loop`."""
    hints = get_type_hints(Loop, include_extras=True)
    options = [
        Parameter(f.name, Parameter.KEYWORD_ONLY, default=f.default, annotation=hints[f.name]) for f in fields(Loop)
    ]

    @wraps(command)
    def run(**words: Any) -> None:
        command(loop=Loop(**{option.name: words.pop(option.name) for option in options}), **words)

    own = [p.replace(kind=Parameter.KEYWORD_ONLY) for p in signature(command, eval_str=True).parameters.values()]
    at = [p.name for p in own].index("loop")
    run.__signature__ = Signature([*own[:at], *options, *own[at + 1 :]])  # type: ignore[attr-defined]
    return run


@rig.callback(invoke_without_command=True)
def overview(context: typer.Context) -> None:
    """A screen and a camera in the loop: show, capture, and know which pixel sees which."""
    if context.invoked_subcommand is None:
        print(context.get_help())


@rig.command()
def display(
    pictures: Annotated[list[Path] | None, typer.Argument(metavar="[PICTURE...]", help="PNG, JPEG or TIFF.")] = None,
    name: Annotated[str, typer.Option("--screen", help="The screen's name.")] = "main",
    host: HostOption = "127.0.0.1",
    port: PortOption = 0,
    token: TokenOption = None,
    fit: Annotated[bool, typer.Option("--fit", help="Scale pictures to the screen instead of one to one.")] = False,
    seconds: Annotated[float, typer.Option("--seconds", help="How long each picture stays.")] = 3.0,
) -> None:
    """Serve the page that makes a browser the rig's display; print its address; show pictures on it.

    Without pictures a pixel-fine checkerboard is shown, which must look even gray: no scaling. Ctrl-C ends it.

    Examples: `ispkit rig display chart.png --host 0.0.0.0` · `ispkit rig display`
    """
    import time

    from ispkit.rig.browser_display import BrowserDisplay, ScreenServer

    with ScreenServer((name,), host=host, port=port, token=token, timeout_s=600.0) as server:
        print(f"open {server.address_of(name)} on the screen and press F", flush=True)
        screen = BrowserDisplay(server, name, fit="contain" if fit else "exact")
        height, width = screen.size
        print(f"screen {name!r}: {height}x{width} device pixels", flush=True)
        for path in pictures or []:
            screen.show(path)
            print(f"shown: {path}", flush=True)
            time.sleep(seconds)
        if not pictures:
            screen.show(_checkerboard(*screen.size))
            print("a checkerboard of single pixels is shown; Ctrl-C ends", flush=True)
            while True:
                time.sleep(1)


@rig.command()
@in_the_loop
def align(
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for map, report and overlay.")],
    *,
    loop: Loop,
    as_json: JsonOption = False,
) -> None:
    """Find which point of the screen every camera pixel sees, by Gray codes.

    Writes map.npz, report.json and overlay.png (capture and target in turn, with the screen's grid). Fix focus,
    exposure and gains first; nothing may move.

    Examples: `ispkit rig align --simulate -o rig` · `ispkit rig align -c rpicam --set shutter_us=20000 -o rig`
    """
    from ispkit.cli.jobs import make_folder
    from ispkit.io.atomic import write_bytes
    from ispkit.io.pictures import write_picture
    from ispkit.ops.encode import srgb_decode
    from ispkit.rig.align import align, capture_of, overlay, true_error_px
    from ispkit.rig.simulated import SimulatedCamera

    with loop.opened() as (screen, eye):
        make_folder(out)
        with _progress("Gray codes", quiet=as_json) as advance:
            result = align(screen, eye, settle_s=loop.settle_s, progress=advance)
        scene = _scene(*screen.size)
        frame = capture_of(screen, eye, scene, settle_s=loop.settle_s)
        report = result.report()
        if isinstance(eye, SimulatedCamera):
            report["true_error_px"] = _quantiles(true_error_px(eye, result.transport))
    result.transport.save(out / "map.npz")
    write_picture(out / "overlay.png", overlay(result.transport, srgb_decode(scene), frame))
    report["files"] = [str(out / name) for name in ("map.npz", "report.json", "overlay.png")]
    text = json.dumps(report, indent=2)
    write_bytes(out / "report.json", (text + "\n").encode())
    print(text) if as_json else _print_alignment(report)


@rig.command()
@in_the_loop
def capture(
    pictures: Annotated[list[Path], typer.Argument(metavar="PICTURE...", help="PNG, JPEG or TIFF, shown as it is.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for the captures.")],
    transport: Annotated[
        Path | None, typer.Option("--map", metavar="map.npz", help="Also write each target on the camera's grid.")
    ] = None,
    *,
    loop: Loop,
) -> None:
    """Show pictures and capture each: NAME.dng for RAW, NAME.png for finished pictures.

    With a map also NAME-target.tif, the picture as linear sRGB light resampled to the camera's pixels, and
    mask.png, which of them see the screen.

    Examples: `ispkit rig capture chart.png -c rpicam --map rig/map.npz -o shots` ·
    `ispkit rig capture chart.png --simulate -o shots`
    """
    from ispkit.cli.jobs import make_folder
    from ispkit.rig.align import capture_of
    from ispkit.rig.contracts import as_codes, centered_on
    from ispkit.rig.light_transport import LightTransport

    _check_outputs(out, pictures, transport, loop)
    known = LightTransport.load(transport) if transport is not None else None
    shown = {path: as_codes(path) for path in pictures}
    with loop.opened() as (screen, eye):
        make_folder(out)
        for path, codes in shown.items():
            whole = centered_on(codes, screen.size, "the display")
            frame = capture_of(screen, eye, whole, settle_s=loop.settle_s)
            print(f"written: {_write_frame(out / path.stem, frame)}")
            if known is not None:
                print(f"written: {_write_target(out, path.stem, known, whole)}")


@rig.command()
@in_the_loop
def color(
    out: Annotated[Path, typer.Option("--out", "-o", metavar="color.json", help="The screen's color model.")],
    table: Annotated[
        Path | None,
        typer.Option("--measurements", metavar="CSV", help="Of a colorimeter: columns R,G,B,X,Y,Z; no camera is used."),
    ] = None,
    *,
    loop: Loop,
    as_json: JsonOption = False,
) -> None:
    """Learn the screen's tone curves and primaries, and how it can pretend to be the lights A, D65 and TL84.

    Examples: `ispkit rig color --measurements screen.csv -o color.json` ·
    `ispkit rig color -c genicam -o color.json`
    """
    from ispkit.cli.guards import check_outputs, refuse_overwriting
    from ispkit.rig.display_color import characterize, emulate, measure, read_measurements

    refuse_overwriting(out, table, Path(loop.camera) if loop.camera else None)
    check_outputs(out)
    if table is not None:
        model = characterize(read_measurements(table))
    else:
        with loop.opened() as (screen, eye), _progress("colors", quiet=as_json) as advance:
            model = characterize(measure(screen, eye, settle_s=loop.settle_s, progress=advance))
    model.save(out)
    lights = [emulate(model, name) for name in ("A", "D65", "TL84")]
    if as_json:
        print(json.dumps(_color_report(model, lights), indent=2))
        return
    x, y = model.white_xy
    exponents = " ".join(f"{g:.3f}" for g in model.gamma())
    print(f"white {x:.4f}, {y:.4f}   gamma {exponents}   contrast {model.contrast:.0f}:1")
    for light in lights:
        rgb = " ".join(f"{v:.3f}" for v in light.linear_rgb)
        fit = "" if light.in_gamut else "   cannot be shown: outside the screen's gamut"
        print(f"{light.light:5} linear RGB {rgb}   luminance {light.luminance:.0%} of the screen's white{fit}")
    print(f"written: {out}")


@rig.command()
def cameras(as_json: JsonOption = False) -> None:
    """List what --camera takes, and the GenICam cameras that can be reached.

    Examples: `ispkit rig cameras` · `ispkit rig cameras --json`
    """
    from ispkit.core.errors import MissingExtraError
    from ispkit.rig.command_camera import PRESETS, preset
    from ispkit.rig.genicam import devices

    commands = {name: preset(name) for name in PRESETS}
    try:
        found, note = devices(), ""
    except MissingExtraError as error:
        found, note = [], str(error)
    if as_json:
        told = {name: {"command": c.command, "settings": dict(c.settings)} for name, c in commands.items()}
        print(json.dumps({"commands": told, "genicam": found, "note": note}, indent=2))
        return
    for name, command in commands.items():
        settings = " ".join(f"{k}={v}" for k, v in command.settings.items()) or "no settings"
        print(f"{name:12} {settings}\n{'':12} {command.command}")
    print(f"genicam      {', '.join(found) or note or 'no camera answers'}")
    print("watch:DIR    the next complete file in a folder; settings pattern=*.dng timeout_s=120 settle_s=0.5")


def _check_outputs(out: Path, pictures: list[Path], transport: Path | None, loop: Loop) -> None:
    """Raise `ParamError` if a file that `capture` may write would replace an input, or another one of its own."""
    from ispkit.cli.guards import refuse_overwriting
    from ispkit.core.errors import ParamError

    endings = (".dng", ".png") if transport is None else (".dng", ".png", "-target.tif")
    made_of = {} if transport is None else {out / "mask.png": transport}
    for path in pictures:
        for output in (out / f"{path.stem}{ending}" for ending in endings):
            other = made_of.setdefault(output, path)
            if other is not path:
                raise ParamError(f"{other} and {path} would both be written to {output}; rename one of them")
    kind, _, folder = loop.display.partition(":")
    shown = [Path(folder, f"frame-{i + 1:04d}.png") for i in range(len(pictures))] if kind == "folder" else []
    for output in (*made_of, *shown):
        refuse_overwriting(output, *pictures, transport)


@contextmanager
def _progress(label: str, *, quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on stderr, where one can be seen."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield None
        return
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _scene(height: int, width: int) -> Tensor:
    """A picture with edges and texture, as sRGB code values."""
    from ispkit.charts.scene import studio_scene
    from ispkit.ops.encode import srgb_encode

    return srgb_encode(studio_scene(max(256, height), max(256, width))[0, :, :height, :width])


def _checkerboard(height: int, width: int) -> Tensor:
    import torch

    cells = (torch.arange(height)[:, None] + torch.arange(width)[None]) % 2
    return cells.float().expand(3, -1, -1)


def _quantiles(error: Any) -> dict[str, float]:
    import numpy as np

    return {"median": float(np.median(error)), "p95": float(np.quantile(error, 0.95)), "max": float(error.max())}


def _write_frame(stem: Path, frame: Frame) -> Path:
    from ispkit.core.frame import Domain
    from ispkit.io.dng_writer import write_dng
    from ispkit.io.pictures import write_picture

    path = stem.with_name(stem.name + (".dng" if frame.domain is Domain.RAW else ".png"))
    write_dng(path, frame) if frame.domain is Domain.RAW else write_picture(path, frame)
    return path


def _write_target(out: Path, name: str, transport: LightTransport, codes: Any) -> Path:
    import torch

    from ispkit.io.pictures import Look, write_picture
    from ispkit.ops.encode import srgb_decode

    light = srgb_decode(torch.from_numpy(codes).permute(2, 0, 1) / 255.0)
    target = transport.target_on_camera(light).permute(1, 2, 0).numpy()
    path = out / f"{name}-target.tif"
    write_picture(path, target, bits=16, look=Look("srgb", linear=True))
    write_picture(out / "mask.png", (transport.mask * 255).astype("uint8"))
    return path


def _color_report(model: DisplayColor, lights: list[Any]) -> dict[str, Any]:
    return {
        "white_xy": model.white_xy,
        "gamma": model.gamma(),
        "contrast": model.contrast if model.contrast != float("inf") else None,
        "lights": [asdict(e) | {"in_gamut": e.in_gamut} for e in lights],
    }


def _print_alignment(report: dict[str, Any]) -> None:
    found = report["alignment"]
    display, camera = ("x".join(map(str, report[key])) for key in ("display_size", "camera_size"))
    print(f"display {display}, camera {camera}: {found['display_px_per_camera_px']:.2f} display px a camera px")
    print(
        f"borders off the map: median {found['median_px']:.3f} px, 95 % {found['p95_px']:.3f} px (camera), "
        f"{found['borders']} borders, {found['outliers']:.2%} outliers"
    )
    print(f"coverage: {found['camera_coverage']:.1%} of the camera, {found['display_coverage']:.1%} of the display")
    if "true_error_px" in report:
        truth = report["true_error_px"]
        print(f"true error of the map: median {truth['median']:.4f} px, 95 % {truth['p95']:.4f} px (camera)")
    for warning in report["warnings"]:
        print(f"warning: {warning}")
    for path in report["files"]:
        print(f"written: {path}")
