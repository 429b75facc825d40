"""`ispkit tune`: the settings of any ISP, found on some pictures and proven on others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

if TYPE_CHECKING:
    from rich.console import Console

    from ispkit.cli.tuning_bars import Bars
    from ispkit.tune.job import JobHooks
    from ispkit.tune.result import Result
    from ispkit.tune.spec import TuneSpec


def _list(wanted: bool) -> None:
    """Print what can be named on the command line."""
    if not wanted:
        return
    from ispkit.isp.catalog import isp_names
    from ispkit.sensor.catalog import sensor_names
    from ispkit.tune.methods import METHODS
    from ispkit.tune.objectives.grammar import FORMS

    print(f"ISPs: {', '.join(isp_names())}, recipe.yaml, program.yaml, package.module:name")
    print(f"methods: {', '.join(METHODS)}")
    print(f"sensors: {', '.join(sensor_names())}")
    print("objectives (A+0.5*B adds two up, 'A; B' keeps them apart):")
    for form, meaning in FORMS.items():
        print(f"  {form:24} {meaning}")
    raise typer.Exit


_SOURCES = {"pictures", "raws", "project", "charts", "yolo", "kitti"}


def tune(
    isp: Annotated[
        str | None,
        typer.Argument(metavar="[ISP]", help="c71, rawtherapee, libraw, bm3d, a preset, recipe.yaml, program.yaml."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data", "-d", help="Folder of pictures (a sensor is simulated) or RAWs with targets; 'project'."
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="RUN", help="Folder of the study.")] = Path("tune_run"),
    objective: Annotated[
        str | None,
        typer.Option("--objective", "-O", metavar="TEXT", help="psnr, l1+0.5*nlpd, kpi:table3, style:NAME, ..."),
    ] = None,
    method: Annotated[str | None, typer.Option("--method", "-m", help="auto, cma, proxy, tpe, ...")] = None,
    budget: Annotated[
        float | None, typer.Option("--budget", "-n", min=1, help="Renders of the whole tuning set, all included.")
    ] = None,
    workers: Annotated[int | None, typer.Option("--workers", "-w", min=1, help="Processes that render.")] = None,
    held_out: Annotated[
        str | None, typer.Option("--held-out", metavar="SHARE|DIR", help="Pictures kept for the end.  [default: 0.25]")
    ] = None,
    sensor: Annotated[str | None, typer.Option("--sensor", help="Simulated sensor, by name or file.")] = None,
    gains: Annotated[str | None, typer.Option("--gains", metavar="N,...", help="Its gains; 1 is ISO 100.")] = None,
    crop: Annotated[str | None, typer.Option("--crop", metavar="HxW", help="Window of each picture.")] = None,
    start: Annotated[
        str | None, typer.Option("--start", metavar="FILE", help="The expert's setting: YAML of knobs, or a .pp3.")
    ] = None,
    lock: Annotated[list[str] | None, typer.Option("--lock", metavar="PATTERN", help="Knobs not to turn.")] = None,
    unlock: Annotated[list[str] | None, typer.Option("--unlock", metavar="PATTERN", help="Except these.")] = None,
    constraint: Annotated[
        list[str] | None, typer.Option("--constraint", metavar="TEXT", help="Such as 'kpi:texture >= 0.8'.")
    ] = None,
    guard: Annotated[
        float | None, typer.Option("--guard", metavar="SHARE", help="No picture may lose more than this share.")
    ] = None,
    option: Annotated[list[str] | None, typer.Option("--option", metavar="NAME=VALUE", help="Of the method.")] = None,
    warm_start: Annotated[
        list[Path] | None, typer.Option("--warm-start", metavar="RUN", help="Folder of an earlier study.")
    ] = None,
    timeout_s: Annotated[float | None, typer.Option("--timeout", help="Seconds one measurement may take.")] = None,
    prune: Annotated[
        bool | None,
        typer.Option(
            "--prune/--no-prune", help="End a trial that is worse after some pictures; auto then sees scores alone."
        ),
    ] = None,
    leaders: Annotated[
        int | None, typer.Option("--leaders", min=1, help="Of a noisy ISP: candidates measured again.  [default: 3]")
    ] = None,
    repeats: Annotated[int | None, typer.Option("--repeats", min=1, help="How often.  [default: 3]")] = None,
    max_failures: Annotated[
        int | None, typer.Option("--max-failures", min=1, help="In a row, before the study gives up.  [default: 10]")
    ] = None,
    cache: Annotated[
        str | None, typer.Option("--cache", metavar="DIR", help="Keep a program's renders, for later studies too.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0)] = None,
    spec_file: Annotated[
        Path | None, typer.Option("--spec", metavar="JOB.yaml", help="All of this as a file; options win over it.")
    ] = None,
    probe: Annotated[
        bool, typer.Option("--probe/--no-probe", help="First turn each knob alone; those that do nothing are locked.")
    ] = True,
    storage: Annotated[
        str | None, typer.Option("--storage", metavar="URL", help="Database for several machines, as Optuna takes it.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    listing: Annotated[
        bool,
        typer.Option("--list", callback=_list, is_eager=True, help="List ISPs, methods, sensors and objectives."),
    ] = False,
) -> None:
    """Find better settings for an ISP that is a black box, and prove them on pictures it was not tuned on.

    Run it again with the same folder to go on after Ctrl-C or a crash, or with a larger budget. The folder then holds
    the best settings in the ISP's own format (best.*), result.json, every rendered picture, and report.html.

    Example: try it; c71 is a hardware ISP with 32 registers that ships with the toolkit.

    ispkit tune c71 --data project --gains 16 --crop 128x128 --budget 200 -o run/

    Example: RawTherapee's knobs on simulated low light, from your own profile.

    ispkit tune rawtherapee --data photos/ --gains 16 --crop 512x512 --start mine.pp3 -o run/

    Example: your own program, described by a file; no picture may lose more than 5 %.

    ispkit tune my_isp.yaml --data shoot/ --objective 'l1+0.5*nlpd' --guard 0.05 --workers 4 -o run/

    Example: two wishes at once; the report shows what one costs the other.

    ispkit tune c71 --data project --objective 'psnr; kpi:table3' --method nsga2 --budget 300 -o run/
    """
    from rich.console import Console

    from ispkit.cli.tuning_bars import Bars
    from ispkit.tune.job import run_job

    given = {
        "isp": isp, "objective": objective, "method": method, "budget": budget, "workers": workers, "start": start,
        "lock": lock, "unlock": unlock, "constraints": constraint, "guard": guard, "timeout_s": timeout_s, "seed": seed,
        "prune": prune, "max_failures": max_failures, "leaders": leaders, "repeats": repeats, "cache": cache,
        "options": read_options(option) if option else None,
    }  # fmt: skip
    shot = {"sensor": sensor, "gains": read_numbers("--gains", gains), "crop": read_size("--crop", crop)}
    spec = _spec(spec_file, given, _data_facts(data, shot), held_out)
    earlier = [str(path) for path in warm_start or ()]
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    with Bars(console, quiet=as_json) as bars:
        hooks = _hooks(bars, _checked_url(storage))
        try:
            result, problem = run_job(spec, out, probe=probe, warm_start=earlier, hooks=hooks)
        except KeyboardInterrupt:
            bars.note(_interrupted(out))
            raise
    finish(out, result, problem.isp, console=console, as_json=as_json)


def finish(out: Path, result: Result, isp: Any, *, console: Console, as_json: bool) -> None:
    """Write the best setting and the report, and say what was found."""
    from ispkit.isp.catalog import export_values
    from ispkit.report.tune_page import write_tune_page

    best = export_values(isp, _own_values(isp, result.best.values), out / "best")
    page = write_tune_page(out)
    if as_json:
        print(json.dumps({**result.to_json(), "best_file": str(best), "report": str(page)}))
        return
    for line in summary(result):
        console.print(line, markup=False)
    if len(result.front) > 1:
        console.print(f"{len(result.front)} settings that none beats in all: ispkit study {out} --front", markup=False)
    console.print(f"\nbest settings: {best}\nreport: {page}", markup=False)


def summary(result: Result) -> Iterator[str]:
    """The result in a few lines."""
    sets = [("tuning set", result.expert, result.best)]
    if result.held_out is not None:
        sets.append(("held out", result.held_out.expert, result.held_out.best))
    yield ""
    for objective in result.objectives:
        for name, expert, best in sets:
            old, new = expert.scores[objective], best.scores[objective]
            spread = ""
            if name == "held out" and result.held_out is not None:
                low, high = result.held_out.interval[objective]
                spread = f"   95 % [{low:+.4g}, {high:+.4g}]"
            yield f"{objective:24} {name:11} expert {old:10.4g}   tuned {new:10.4g}   {new - old:+.4g}{spread}"
    yield "lower is better; PSNR is negated"
    yield f"{len(result.changed)} of {len(result.knobs)} knobs changed, {result.spent:.4g} renders of the set spent"
    for line in result.warnings:
        yield f"note: {line}"


def _hooks(bars: Bars, storage: str | None) -> JobHooks:
    """What a job tells, shown as bars."""
    from ispkit.tune.job import JobHooks
    from ispkit.tune.plan import Hooks
    from ispkit.tune.sensitivity import Sensitivity

    def warned(found: Sensitivity) -> None:
        for line in found.warnings():
            bars.note(f"note: {line}")

    study = Hooks(storage=storage, on_progress=bars.searching("search"))
    return JobHooks(study, on_probe=bars.counting("probing knobs"), on_sensitivity=warned)


def _checked_url(storage: str | None) -> str | None:
    """Raises `ParamError` for what no database understands; a server that does not answer is told later."""
    from ispkit.core.errors import MissingExtraError, ParamError

    if storage is None:
        return None
    import sqlalchemy

    shown = storage.partition("://")[0] + "://..."  # a password belongs on no screen
    try:
        sqlalchemy.create_engine(storage).connect().close()
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"--storage {shown}: this database needs the package {error.name}") from error
    except sqlalchemy.exc.SQLAlchemyError as error:
        reason = " ".join(str(error).split()).partition(" (Background")[0]
        raise ParamError(
            f"--storage {shown}: {reason}; write such as sqlite:///study.db or mysql://user:word@host/base"
        ) from error
    return storage


def _interrupted(out: Path) -> str:
    """What is left to go on with."""
    from ispkit.tune.run_folder import RunFolder

    room = RunFolder(out)
    done = len({event["trial"] for event in room.events("complete", "known", "pruned", "failed")})
    probed = len({event["key"] for event in room.events("probed") if event["measurement"]})
    if probed and not done:
        return f"{out}: stopped while knobs were probed; {probed} probes are kept, the same command goes on"
    if not done:
        return f"{out}: stopped before a trial had finished; the same command begins again"
    return f"{out}: {done} finished trials are kept; `ispkit study {out} --report` shows what they found"


def _spec(path: Path | None, given: dict[str, Any], data: Any, held_out: str | None) -> TuneSpec:
    """The job of the file, if there is one, with the options of the command line over it."""
    from ispkit.core.errors import ParamError
    from ispkit.tune.spec import from_dict, load_spec, to_dict

    base: dict[str, Any] = {"version": 1} if path is None else to_dict(load_spec(path))
    if isinstance(data, dict) and isinstance(base.get("data"), dict):
        named = _SOURCES & set(data)  # other pictures; how they are simulated stays as the file says
        data = {**{k: v for k, v in base["data"].items() if not named or k not in _SOURCES}, **data}
    elif isinstance(data, dict) and not _SOURCES & set(data):
        raise ParamError("--gains, --crop and --sensor say how --data is simulated; give --data")
    content = {**base, **{k: v for k, v in given.items() if v is not None}, **({"data": data} if data else {})}
    if held_out is not None:
        content["held_out"] = _number(held_out)
    for key, flag in (("isp", "ISP"), ("data", "--data")):
        if key not in content:
            raise ParamError(f"{flag} is missing: name what is to be tuned and on what, or give --spec JOB.yaml")
    return from_dict(content, base=Path.cwd())  # the folder can be gone on with from anywhere


def _data_facts(data: str | None, shot: dict[str, Any]) -> dict[str, Any] | None:
    """The data of a spec, with what is said about its simulation."""
    from ispkit.io.containers import RAW_SUFFIXES

    stated = {k: v for k, v in shot.items() if v is not None}
    if data is None:
        return stated or None
    if data == "project":
        return {"project": 8, **stated}
    room = Path(data)
    raws = room.is_dir() and any(RAW_SUFFIXES.fullmatch(p.suffix) for p in room.iterdir())
    return {("raws" if raws else "pictures"): data, **stated}


def _own_values(isp: Any, values: Any) -> Any:
    """The values of the study that are the ISP's own."""
    return {name: value for name, value in values.items() if name in isp.space}


def read_options(words: list[str]) -> dict[str, Any]:
    """NAME=VALUE of each --option, values as YAML reads them. Raises `ParamError`."""
    from ispkit.core.errors import ParamError

    found = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or not name:
            raise ParamError(f"--option {word}: write NAME=VALUE, such as popsize=30")
        try:
            found[name] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ParamError(f"--option {word}: the value is not YAML ({' '.join(str(error).split())})") from error
    return found


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def read_numbers(flag: str, text: str | None) -> list[float] | None:
    """Numbers with commas between. Raises `ParamError`."""
    from ispkit.core.errors import ParamError

    try:
        return None if text is None else [float(part) for part in text.split(",")]
    except ValueError as error:
        raise ParamError(f"{flag} {text}: write numbers with commas, such as 1,16") from error


def read_size(flag: str, text: str | None) -> list[int] | None:
    """HEIGHTxWIDTH. Raises `ParamError`."""
    from ispkit.core.errors import ParamError

    try:
        if text is None:
            return None
        height, width = (int(part) for part in text.lower().split("x"))
    except ValueError as error:
        raise ParamError(f"{flag} {text}: write HEIGHTxWIDTH in pixels, such as 512x512") from error
    return [height, width]
