"""`ispkit simulate`: finished pictures to RAW files with known truth."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ispkit.sensor.model import Sensor
    from ispkit.sensor.synthesize import Settings

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
_SMALLEST = 22  # pixels a side that LibRaw opens


@dataclass(frozen=True)
class Shot:
    """What became of one picture; `error` is one sentence, empty if all went well."""

    picture: str
    raw: str
    clean: str
    truth: str
    iso: float = 0.0
    skipped: bool = False
    error: str = ""


def simulate(
    pictures: Annotated[
        list[Path] | None, typer.Argument(metavar="[PICTURE...]", help="PNG, JPEG or TIFF files, or folders of them.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="DIR", help="Folder for the results.")] = None,
    sensor: Annotated[
        str, typer.Option("--sensor", help="A name of --list, a YAML sensor, or a calibrated camera.yaml.")
    ] = "default",
    lux: Annotated[
        str | None, typer.Option("--lux", metavar="LUX", help="Light: 6, or 2-20 for a draw; sets the ISO.")
    ] = None,
    iso: Annotated[float | None, typer.Option("--iso", help="Gain; with --lux the picture gets dark.")] = None,
    cct: Annotated[
        float | None,
        typer.Option("--cct", metavar="K", help="The sensor's colors in this light; else a random camera."),
    ] = None,
    method: Annotated[str, typer.Option("--method", "-m", help="unprocess, kim or linear.")] = "unprocess",
    cfa: Annotated[str | None, typer.Option("--cfa", help="Filter array instead of the sensor's own.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of cameras, light and noise.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Make again what is already there.")] = False,
    list_sensors: Annotated[bool, typer.Option("--list", help="Name the sensors and where they are from.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Turn finished pictures into RAW files of a given sensor in a given light, with their truth.

    Each picture becomes NAME.dng, NAME_clean.png (16 bits, linear, without noise) and NAME.json (noise, gains,
    matrix, light, seed). A second run with the same settings skips what is finished.

    Examples:
    ispkit simulate photos/ -o raw/ --sensor nexus-6p-rear --lux 2-20

    ispkit simulate a.png b.jpg -o raw/ --sensor sony-a7s2 --iso 3200 --seed 7 --method kim
    """
    if list_sensors:
        _list(as_json)
        return
    from ispkit.core.errors import ParamError
    from ispkit.sensor.synthesize import Settings, check_settings

    if not pictures or out is None:
        raise ParamError("simulate needs pictures and a folder: ispkit simulate PICTURE... -o DIR (or --list)")
    settings = Settings(method=method, lux=lux, iso=iso, cct_k=cct, seed=seed)  # type: ignore[arg-type]
    check_settings(settings)
    shots = run(list(pictures), out, load(sensor, cfa), settings, force=force, quiet=as_json)
    if as_json:
        print(json.dumps([asdict(shot) for shot in shots], indent=2))
    else:
        _print(shots)
    if any(shot.error for shot in shots):
        raise typer.Exit(2)


def load(name: str, cfa: str | None = None) -> Sensor:
    """A sensor by name, from its YAML file, or from a calibrated camera's profile."""
    from ispkit.core.cfa import check_cfa
    from ispkit.io.profile import VERSION_KEY, read_profile
    from ispkit.sensor.catalog import load_sensor
    from ispkit.sensor.model import Sensor

    path = Path(name)
    calibrated = path.suffix.lower() in (".yaml", ".yml") and path.is_file() and _mentions(path, VERSION_KEY)
    found = Sensor.from_profile(read_profile(path)) if calibrated else load_sensor(name)
    return found if cfa is None else replace(found, cfa=check_cfa(cfa.upper()))


def run(
    pictures: Sequence[Path], out: Path, sensor: Sensor, settings: Settings, *, force: bool = False, quiet: bool = True
) -> list[Shot]:
    """Make one shot a picture; a bad picture does not stop the others."""
    from ispkit.cli.guards import is_expected, one_line, refuse_overwriting
    from ispkit.cli.jobs import make_folder, targets_in

    files = list(_picture_files(pictures))
    targets = targets_in(files, out, ".dng")
    plans = [
        Shot(str(f), str(t), str(_clean(t)), str(t.with_suffix(".json"))) for f, t in zip(files, targets, strict=True)
    ]
    for plan in plans:
        for written in (plan.raw, plan.clean, plan.truth):
            refuse_overwriting(Path(written), *files)
    make_folder(out)
    done = []
    for plan in _progress(plans, quiet=quiet or len(plans) < 2):
        try:
            done.append(_shoot(plan, sensor, settings, force))
        except Exception as error:
            if not is_expected(error):
                raise
            text = one_line(error)
            done.append(replace(plan, error=text if plan.picture in text else f"{plan.picture}: {text}"))
    return done


def _shoot(plan: Shot, sensor: Sensor, settings: Settings, force: bool) -> Shot:
    import torch

    from ispkit.core.errors import FileError
    from ispkit.io.atomic import write_bytes
    from ispkit.io.dng_writer import write_dng
    from ispkit.io.pictures import Look, write_picture
    from ispkit.report.load import load_srgb
    from ispkit.sensor.synthesize import synthesize

    if not Path(plan.picture).is_file():
        raise FileError(f"{plan.picture}: no such file")
    own = replace(settings, seed=_own_seed(settings.seed, Path(plan.raw).name))
    key = _key(plan.picture, sensor, own)
    known = None if force else _finished(plan, key)
    if known is not None:
        return replace(plan, iso=known, skipped=True)
    pixels = torch.from_numpy(load_srgb(plan.picture)).permute(2, 0, 1)[None]
    if min(pixels.shape[-2:]) < _SMALLEST:
        raise FileError(f"{plan.picture}: too small for a DNG; it needs {_SMALLEST} pixels a side")
    made = synthesize(pixels, sensor, own)
    write_dng(plan.raw, made.raw)
    space = None if settings.method == "linear" else "srgb"
    clean = made.clean[0].permute(1, 2, 0).numpy()
    write_picture(plan.clean, clean, bits=16, look=Look(space, linear=True))
    facts = {"version": 1, "picture": plan.picture, "raw": Path(plan.raw).name, "clean": Path(plan.clean).name}
    facts |= {**made.facts, "master_seed": settings.seed, "key": key}
    write_bytes(plan.truth, (json.dumps(facts, indent=1) + "\n").encode())
    return replace(plan, iso=made.facts["iso"])


def _own_seed(seed: int, name: str) -> int:
    """A picture's own seed, so that its shot does not depend on the others'."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:6], "big")


def _key(picture: str, sensor: Sensor, settings: Settings) -> str:
    """Changes when the picture, the sensor, a setting or the toolkit does."""
    from importlib.metadata import version

    stat = Path(picture).stat()
    facts = [picture, stat.st_size, stat.st_mtime_ns, repr(sensor), asdict(settings), version("ispkit")]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def _finished(plan: Shot, key: str) -> float | None:
    """The ISO of a shot that stands there whole and was made alike; else None."""
    if not (Path(plan.raw).is_file() and Path(plan.clean).is_file()):
        return None
    try:
        facts = json.loads(Path(plan.truth).read_text(encoding="utf-8"))
        return float(facts["iso"]) if facts["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _clean(raw: Path) -> Path:
    return raw.with_name(f"{raw.stem}_clean.png")


def _mentions(path: Path, word: str) -> bool:
    with path.open("rb") as file:
        return word.encode() in file.read(4096)


def _picture_files(paths: Sequence[Path]) -> Iterator[Path]:
    from ispkit.core.errors import FileError

    for path in paths:
        if not path.is_dir():
            yield path
            continue
        found = sorted(p for p in path.rglob("*") if p.suffix.lower() in PICTURES and p.is_file())
        if not found:
            raise FileError(f"{path}: a folder without pictures (looked for {', '.join(PICTURES)})")
        yield from found


def _progress(plans: Sequence[Shot], *, quiet: bool) -> Iterator[Shot]:
    if quiet:
        yield from plans
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("simulating"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        yield from bar.track(plans)


def _print(shots: Sequence[Shot]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("picture", "RAW", "ISO", "result", box=None, header_style="bold")
    for shot in shots:
        state = "[red]refused[/]" if shot.error else "[yellow]there already[/]" if shot.skipped else "[green]written[/]"
        table.add_row(escape(shot.picture), escape(shot.raw), f"{shot.iso:.0f}" if shot.iso else "", state)
    if len(shots) > 1 or not shots[0].error:
        Console().print(table)
    errors = Console(stderr=True, soft_wrap=True)
    for shot in shots:
        if shot.error:
            errors.print(f"ispkit: {shot.error}", markup=False, highlight=False)


def _list(as_json: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    from ispkit.sensor.catalog import LIGHT_LEVELS, load_sensor, sensor_doc, sensor_names
    from ispkit.sensor.synthesize import iso_span

    rows: list[dict[str, Any]] = []
    for name in sensor_names():
        sensor = load_sensor(name)
        shot, read = sensor.noise_at(100.0)[0, 1].tolist()
        rows.append({"name": name, "measured_at_iso": iso_span(sensor), "shot_at_iso100": shot,
                     "read_std_at_iso100": read**0.5, "bits": sensor.bits, "source": sensor_doc(name)})  # fmt: skip
    if as_json:
        print(json.dumps({"sensors": rows, "light_levels": list(LIGHT_LEVELS)}, indent=2))
        return
    table = Table("name", "measured at ISO", "S at ISO 100", "std at ISO 100", "source", box=None, header_style="bold")
    for row in rows:
        numbers = (f"{row['shot_at_iso100']:.3g}", f"{row['read_std_at_iso100']:.3g}")
        table.add_row(row["name"], row["measured_at_iso"], *numbers, row["source"].split(",")[0])
    Console().print(table)
    Console().print(f"\n--lux as in Dirty Pixels: {', '.join(LIGHT_LEVELS)}", highlight=False)
