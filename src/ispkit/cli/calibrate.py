"""`ispkit calibrate`: a folder of shots becomes a camera profile."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ispkit.cli.guards import refuse_overwriting

if TYPE_CHECKING:
    from ispkit.calibrate.run import Calibration
    from ispkit.calibrate.shots import Progress
    from ispkit.core.profile import CameraProfile

_DNG = "dng"
Write = Callable[[], None]

_EXPORT_HELP = (
    "Also write a tuning file; KIND is rpi-vc4, rpi-pisp, libcamera-rkisp1, libcamera-softisp or infinite-isp; "
    "or dng: the RAW file given by --template with the profile in its tags. May be given several times."
)


def calibrate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with the shots of one camera.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="CAMERA.yaml", help="The profile to write.")],
    report: Annotated[
        Path | None, typer.Option("--report", metavar="PAGE.html", help="Also write a page with plots.")
    ] = None,
    exports: Annotated[list[str] | None, typer.Option("--export", metavar="KIND=PATH", help=_EXPORT_HELP)] = None,
    template: Annotated[
        Path | None,
        typer.Option("--template", help="A tuning file whose other blocks the export keeps; for dng the RAW file."),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="What to call the camera; its model by default.")] = None,
    mesh: Annotated[str, typer.Option("--mesh", metavar="ROWSxCOLUMNS", help="Nodes of the shading maps.")] = "13x17",
    force: Annotated[bool, typer.Option("--force", help="Measure again even if nothing has changed.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Calibrate a camera: black level, noise, defects, lens shading, color and sharpness.

    Name the shots dark_*, flat_* (or alsc_3000k_*), chart_* (or D65_6500k_800l), psf_*, or list them in a
    shots.yaml in the folder. Whatever can be measured is; the rest is listed as missing. A profile that was made
    from these very files, told by their names, sizes and times, is not measured again.

    Example: a profile and a page that shows what it rests on.

    ispkit calibrate shots/ -o camera.yaml --report camera.html

    Example: also a tuning file for a Raspberry Pi 5, keeping the other blocks of the one in use.

    ispkit calibrate shots/ -o camera.yaml --export rpi-pisp=new.json --template imx477.json
    """
    from ispkit.calibrate.run import calibrate as measure
    from ispkit.io.profile import dump_profile

    targets = [_export_target(text) for text in exports or []]
    _check_template([kind for kind, _ in targets], template)
    _check_targets(folder, [out, *([report] if report else []), *(path for _, path in targets)], template)
    _check_beside(folder, targets)
    known = None if force or report is not None else _up_to_date(folder, out, _mesh(mesh), name)
    if known is None:
        with _bar() as progress:
            done = measure(folder, name=name, mesh=_mesh(mesh), progress=progress)
        profile = done.profile
    else:
        done, profile = None, known
    # everything is made before anything is written
    files = [(path, _export(profile, kind, path, template)) for kind, path in targets]
    if done is not None:
        files.insert(0, (out, _text(out, dump_profile(profile))))
    if report is not None and done is not None:
        files.append((report, _page(report, done)))
    for _, write in files:
        write()
    written = [path for path, _ in files]
    _tell(profile, out, written, fresh=done is not None, as_json=as_json)


def _export_target(text: str) -> tuple[str, Path]:
    from ispkit.core.errors import ParamError, nearest
    from ispkit.io.tuning.export import EXPORTS

    kind, equals, path = text.partition("=")
    kinds = (_DNG, *EXPORTS)
    if kind not in kinds:
        raise ParamError(f"--export {text!r}: no tuning file of kind {kind!r}; {nearest(kind, kinds)}")
    if not equals or not path:
        suffix = EXPORTS[kind].suffix if kind in EXPORTS else ".dng"
        raise ParamError(f"--export {text!r} is not KIND=PATH, as in {kind}=camera{suffix}")
    return kind, Path(path)


def _check_template(kinds: list[str], template: Path | None) -> None:
    from ispkit.core.errors import FileError, ParamError

    if template is not None and not template.is_file():
        raise FileError(f"--template {template}: there is no such file")
    if template is not None and len(kinds) != 1:
        raise ParamError(f"--template {template} belongs to one --export, {len(kinds)} were given; run once for each")
    if template is None and _DNG in kinds:
        raise ParamError("--export dng needs the RAW file whose tags are to change; give it with --template")


def _check_targets(folder: Path, targets: list[Path], template: Path | None) -> None:
    """Refuse at once what could only fail after minutes of work, or would replace an input."""
    from ispkit.calibrate.run import files_read
    from ispkit.core.errors import FileError, ParamError

    inputs = (*(files_read(folder) if folder.is_dir() else ()), template)
    seen: set[Path] = set()
    for target in targets:
        if target.is_dir() or not target.parent.is_dir():
            what = "is a folder; add a file name" if target.is_dir() else f"folder {target.parent} does not exist"
            raise FileError(f"cannot write {target}: {what}")
        if target.resolve() in seen:
            raise ParamError(f"{target} is to be written twice; give each output its own name")
        seen.add(target.resolve())
        refuse_overwriting(target, *inputs)


def _check_beside(folder: Path, exports: list[tuple[str, Path]]) -> None:
    """Refuse a RAW file among the shots, which the next run would take for one."""
    from ispkit.core.errors import ParamError

    for kind, path in exports:
        if kind == _DNG and path.resolve().is_relative_to(folder.resolve()):
            raise ParamError(f"--export dng={path} would be one of the shots of {folder}; write it to another folder")


def _mesh(text: str) -> tuple[int, int]:
    from ispkit.core.errors import ParamError

    parts = text.lower().split("x")
    if len(parts) != 2 or not all(p.isdigit() and int(p) >= 2 for p in parts):
        raise ParamError(f"--mesh {text!r} is not ROWSxCOLUMNS with at least 2 each, as in 13x17")
    return int(parts[0]), int(parts[1])


def _up_to_date(folder: Path, out: Path, mesh: tuple[int, int], name: str | None) -> CameraProfile | None:
    """The profile that an earlier run wrote from these very files, if there is one."""
    from ispkit.calibrate.run import fingerprint
    from ispkit.core.errors import FileError
    from ispkit.io.profile import read_profile

    if not (out.is_file() and folder.is_dir()):
        return None
    try:
        profile = read_profile(out)
    except FileError:
        return None
    same = profile.made.get("key") == fingerprint(folder, mesh) and name in (None, profile.name)
    return profile if same else None


def _export(profile: CameraProfile, kind: str, path: Path, template: Path | None) -> Write:
    if kind == _DNG and template is not None:
        from ispkit.io.dng_writer import write_dng
        from ispkit.io.load import load
        from ispkit.io.tuning.dng import apply_profile

        frame = apply_profile(load(template), profile)
        return lambda: write_dng(path, frame)
    from ispkit.core.errors import FileError
    from ispkit.io.tuning.export import export

    old = None if template is None else template.read_bytes().decode(errors="replace")
    try:
        return _text(path, export(profile, kind, template=old))
    except FileError as error:  # the exporters know the text alone
        raise FileError(str(error).replace("template", str(template), 1) if template else str(error)) from error


def _text(path: Path, text: str) -> Write:
    from ispkit.io.atomic import write_bytes

    return lambda: write_bytes(path, text.encode())


def _page(path: Path, done: Calibration) -> Write:
    from ispkit.report.calibration_page import write_calibration_page

    return lambda: write_calibration_page(path, done)


@contextmanager
def _bar() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=1)
        yield lambda what, done, total: bar.update(task, description=what, completed=done, total=total)


def _tell(profile: CameraProfile, out: Path, written: list[Path], *, fresh: bool, as_json: bool) -> None:
    from ispkit.calibrate.summary import summary

    said = {key: list(profile.made.get(key, ())) for key in ("missing", "notes")}
    if as_json:
        facts = {"profile": str(out), "measured": fresh, **summary(profile), **said, "written": list(map(str, written))}
        print(json.dumps(facts, indent=2, ensure_ascii=False))
        return
    _print(summary(profile), said)
    if not fresh:
        print(f"{out} is up to date with its shots; --force measures again")
    for path in written:
        print(f"written: {path}")


def _print(facts: dict[str, Any], said: dict[str, list[str]]) -> None:
    from rich.console import Console
    from rich.markup import escape

    console = Console()
    size = f"{facts['width']}x{facts['height']}, {facts['cfa']}, white {facts['white_level']:g}"
    console.print(f"[bold]{escape(facts['name'])}[/]  {size}, {facts['defects']} defect pixels", highlight=False)
    for title, rows in _tables(facts):
        if rows:
            console.print(_table(title, rows))
    if facts["awb"]:
        margins = f"+{facts['awb']['transverse_pos']:.4f} -{facts['awb']['transverse_neg']:.4f}"
        console.print(f"white-balance curve of R/G and B/G, transverse margins {margins}", highlight=False)
    if facts["psf"]:
        console.print(f"point spread functions of {', '.join(facts['psf'])}", highlight=False)
    for heading, ink in (("missing", "yellow"), ("notes", "cyan")):
        for line in said[heading]:
            console.print(f"[{ink}]{heading}[/] {escape(line)}", highlight=False, soft_wrap=True)


def _tables(facts: dict[str, Any]) -> Iterator[tuple[str, list[dict[str, str]]]]:
    yield (
        "black level and read noise, DN per site",
        [
            {"ISO": f"{b['iso']:g}", "s": f"{b['exposure_time_s']:g}", "level": _numbers(b["level_dn"], ".2f"),
             "noise": _numbers(b["noise_dn"], ".2f")}
            for b in facts["black"]
        ],
    )  # fmt: skip
    yield (
        "noise: variance = S x + O, per R, G, B",
        [
            {"ISO": f"{n['iso']:g}", "S": _numbers(n["shot"], ".3e"), "O": _numbers(n["read"], ".2e"),
             "method": n["method"].replace("_", " ")}
            for n in facts["noise"]
        ],
    )  # fmt: skip
    yield (
        "lens shading",
        [
            {"light": f"{s['cct_k']:g} K" if s["cct_k"] else "unknown", "mesh": "{}x{}".format(*s["mesh"]),
             "gain in the corners, per site": _numbers(s["corner_gain"], ".3f")}
            for s in facts["shading"]
        ],
    )  # fmt: skip
    yield (
        "color",
        [
            {"light": c["name"], "CCT": f"{c['cct_k']:g} K", "neutral R, G, B": _numbers(c["neutral"], ".4f"),
             "ΔE00 mean, max": f"{c['delta_e00_mean']:.2f}, {c['delta_e00_max']:.2f}"}
            for c in facts["colors"]
        ],
    )  # fmt: skip


def _numbers(values: list[float], form: str) -> str:
    return "  ".join(format(v, form) for v in values)


def _table(title: str, rows: list[dict[str, str]]) -> Any:
    from rich.table import Table

    table = Table(*rows[0], title=title, title_justify="left", box=None, header_style="dim")
    for row in rows:
        table.add_row(*row.values())
    return table
