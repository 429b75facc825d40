"""`ispkit chart`: test charts whose truth is known, as pictures, linear data and simulated RAW files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ispkit.charts.chart import Chart

GRAY_CODE = "gray_code"


def chart(
    name: Annotated[str | None, typer.Argument(help="Which chart; --list tells them all.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for the files.")] = Path(),
    size: Annotated[str | None, typer.Option("--size", metavar="HxW", help="Height x width in pixels.")] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Of what is random in the chart, and of the noise.")
    ] = None,
    light: Annotated[
        str | None, typer.Option("--light", metavar="D65", help="A, D50, D65, TL84, ...: of the patches, and the RAW.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", "-s", metavar="KEY=VALUE", help="A parameter; repeatable.")
    ] = None,
    markers: Annotated[bool, typer.Option("--markers", help="ArUco markers all around, to be found by.")] = False,
    bits: Annotated[int, typer.Option("--bits", help="8 or 16, of the PNG.")] = 8,
    raw: Annotated[bool, typer.Option("--raw", help="Also a DNG, as a simulated sensor sees the chart.")] = False,
    sensor: Annotated[
        str, typer.Option("--sensor", metavar="NAME", help="Which sensor, or its YAML file.")
    ] = "default",
    iso: Annotated[float, typer.Option("--iso", help="Gain of that sensor.")] = 100.0,
    ev: Annotated[float, typer.Option("--ev", help="Exposure; +1 doubles the light.")] = 0.0,
    listing: Annotated[
        bool, typer.Option("--list", help="Say what charts there are, or a chart's parameters.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Make a chart: NAME.png to show or print (sRGB), NAME.tiff (linear), NAME.json (its truth), NAME.dng.

    The truth tells every region and what is in it, and is enough to make the chart again; `ispkit kpi` reads
    it. `gray_code` writes the stripe pictures for a display of --size, numbered, with their meaning.

    Example: everything on one page, as a camera at ISO 400 sees it.

    ispkit chart lab -o charts --raw --iso 400

    Example: two blurred edges under the name and parameters that --list tells.

    ispkit chart slanted_edge -o charts --size 400x800 --set angles_deg=[3,5] --set sigma_px=0.8
    """
    from ispkit.core.errors import ParamError

    if listing or name is None:
        if name is None and not listing:
            raise ParamError("no chart was named; ispkit chart --list tells them all")
        _list(name, as_json)
        return
    parameters = _parameters(settings or []) | _size(size)
    if name == GRAY_CODE:
        if raw or markers or light is not None:
            raise ParamError("gray_code is a sequence for a display; --raw, --markers and --light do not go with it")
        written = _write_sequence(out, parameters)
    else:
        made = _build(name, parameters, seed=seed, light=light, markers=markers)
        shot = {"sensor": sensor, "iso": iso, "exposure_ev": ev, "light": light, "seed": seed or 0} if raw else None
        written = _write(made, out, bits, shot)
    if as_json:
        print(json.dumps({"chart": name, "files": [str(p) for p in written]}, indent=2, ensure_ascii=False))
    else:
        for path in written if name != GRAY_CODE else [written[0].parent / "gray_code_*.png", written[-1]]:
            print(path)


def _build(name: str, parameters: dict[str, Any], *, seed: int | None, light: str | None, markers: bool) -> Chart:
    from ispkit.charts.catalog import CHARTS, build, parameters_of
    from ispkit.charts.lights import patch_colors
    from ispkit.core.errors import ParamError, nearest

    if name not in CHARTS:
        raise ParamError(f"no chart {name!r}; {nearest(name, [*CHARTS, GRAY_CODE])}")
    known = parameters_of(name)
    if light is not None:
        patch_colors(light)  # a wrong name is told even where the chart itself does not need it
    for key, value in (("seed", seed), ("light", light)):
        if value is not None and key in known:
            parameters.setdefault(key, value)
    if markers:
        parameters.setdefault("markers", True)
    return build(name, **parameters)


def _write(made: Chart, folder: Path, bits: int, shot: dict[str, Any] | None) -> list[Path]:
    """The files of a chart, the truth last."""
    from ispkit.cli.jobs import make_folder
    from ispkit.core.errors import ParamError
    from ispkit.io.pictures import Look, write_picture
    from ispkit.ops.encode import srgb_encode

    if bits not in (8, 16):
        raise ParamError(f"--bits {bits} should be 8 or 16")
    frame, facts = _capture(made, shot) if shot else (None, None)
    make_folder(folder)
    paths = [folder / f"{made.name}{ending}" for ending in (".png", ".tiff", ".dng", ".json")]
    write_picture(paths[0], srgb_encode(made.picture.clamp(0, 1)).permute(1, 2, 0).numpy(), bits=bits)
    write_picture(paths[1], made.picture.permute(1, 2, 0).numpy(), bits=32, look=Look(linear=True))
    if frame is None:
        del paths[2]
    else:
        from ispkit.io.dng_writer import write_dng

        write_dng(paths[2], frame)
    _write_json(paths[-1], made.truth() | ({"simulate": facts} if facts else {}))
    return paths


def _capture(made: Chart, shot: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """A RAW frame of the chart, and the facts of the shot."""
    from ispkit.charts.lights import patch_colors
    from ispkit.core.errors import ParamError
    from ispkit.sensor.catalog import load_sensor
    from ispkit.sensor.simulate import capture

    if not 1 <= shot["iso"] <= 1e6:
        raise ParamError(f"--iso {shot['iso']:g} should be in [1, 1000000]")
    if not -20 <= shot["exposure_ev"] <= 20:
        raise ParamError(f"--ev {shot['exposure_ev']:g} should be in [-20, 20]")
    chosen = load_sensor(shot["sensor"])
    light = shot["light"] or made.parameters.get("light")
    cct_k = patch_colors(light).cct_k if light not in (None, "reference") else 6504.0
    facts = shot | {"camera": chosen.name, "cfa": chosen.cfa, "cct_k": cct_k, "light": light}
    frame = capture(
        made.picture[None], chosen, cct_k=cct_k, iso=shot["iso"], exposure_ev=shot["exposure_ev"], seed=shot["seed"]
    )
    return frame, facts


def _write_sequence(folder: Path, parameters: dict[str, Any]) -> list[Path]:
    """The numbered pictures of the Gray code, and their meaning last."""
    import inspect

    from ispkit.charts.gray_code import gray_code_sequence
    from ispkit.cli.jobs import make_folder
    from ispkit.core.errors import ParamError, nearest
    from ispkit.io.pictures import write_picture
    from ispkit.ops.encode import srgb_encode

    known = inspect.signature(gray_code_sequence).parameters
    for key in parameters:
        if key not in known:
            raise ParamError(f"gray_code: no parameter {key!r}; {nearest(key, known)}")
    sequence = gray_code_sequence(**({"height": 1080, "width": 1920} | parameters))
    make_folder(folder)
    paths = [folder / f"gray_code_{i:03d}_{pattern.name}.png" for i, pattern in enumerate(sequence.patterns)]
    for path, picture in zip(paths, sequence.pictures(), strict=True):
        write_picture(path, srgb_encode(picture).permute(1, 2, 0).numpy())
    truth = sequence.truth() | {"files": [path.name for path in paths]}
    _write_json(folder / "gray_code.json", truth)
    return [*paths, folder / "gray_code.json"]


def _write_json(path: Path, content: dict[str, Any]) -> None:
    from ispkit.io.atomic import write_bytes

    write_bytes(path, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())


def _parameters(settings: list[str]) -> dict[str, Any]:
    """KEY=VALUE with YAML values."""
    import yaml

    from ispkit.core.errors import ParamError

    parameters: dict[str, Any] = {}
    for text in settings:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise ParamError(f"--set {text!r} should be KEY=VALUE such as sigma_px=0.8")
        try:
            parameters[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ParamError(f"--set {text!r}: {value!r} is neither a number, a word nor a list like [3,5]") from None
    return parameters


def _size(text: str | None) -> dict[str, int]:
    from ispkit.core.errors import ParamError

    if text is None:
        return {}
    height, _, width = text.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal()):
        raise ParamError(f"--size {text!r} should be HEIGHTxWIDTH in pixels such as 1200x1600")
    return {"height": int(height), "width": int(width)}


def _list(name: str | None, as_json: bool) -> None:
    from ispkit.charts.catalog import CHARTS, parameters_of, summary
    from ispkit.charts.gray_code import gray_code_sequence
    from ispkit.charts.lights import light_names
    from ispkit.charts.markers import marker_ids
    from ispkit.core.errors import ParamError, nearest

    if name is not None and name not in (*CHARTS, GRAY_CODE):
        raise ParamError(f"no chart {name!r}; {nearest(name, [*CHARTS, GRAY_CODE])}")
    names = [name] if name is not None and name != GRAY_CODE else list(CHARTS)
    rows = {n: {"summary": summary(n), "parameters": parameters_of(n), "markers": list(marker_ids(n))} for n in names}
    if name in (None, GRAY_CODE):
        first = (gray_code_sequence.__doc__ or "").splitlines()[0]
        own = {"height": 1080, "width": 1920, "color": [0.0, 1.0, 0.0]}
        rows = (rows if name is None else {}) | {GRAY_CODE: {"summary": first, "parameters": own, "markers": []}}
    if as_json:
        print(json.dumps({"charts": rows, "lights": light_names()}, indent=2))
    else:
        _print(rows, light_names())


def _print(rows: dict[str, Any], lights: tuple[str, ...]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("chart", "size", "markers", "what it is, and its parameters", box=None, header_style="bold")
    for name, row in rows.items():
        parameters = dict(row["parameters"])
        size = f"{parameters.pop('height')}x{parameters.pop('width')}"
        known = ", ".join(f"{key}={json.dumps(value)}" for key, value in parameters.items() if key != "markers")
        ids = f"{row['markers'][0]}-{row['markers'][-1]}" if row["markers"] else ""
        table.add_row(name, size, ids, escape(f"{row['summary']}\n{known}".rstrip()))
    console = Console()
    console.print(table)
    console.print(f"\nLights: {', '.join(lights)}", highlight=False)
