"""The work behind `ispkit render`: which file becomes which picture, in what process, and what is done."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ispkit.cli import learned_jobs
from ispkit.cli.geometry import parse_geometry
from ispkit.cli.guards import is_expected, one_line, refuse_overwriting
from ispkit.core.errors import FileError, ParamError
from ispkit.core.frame import Frame
from ispkit.core.param import Value
from ispkit.io.atomic import write_bytes
from ispkit.io.containers import RAW_SUFFIXES
from ispkit.io.sidecar import find_sidecar
from ispkit.isp.pipeline import Pipeline
from ispkit.isp.recipe import from_recipe, load_recipe, preset, to_recipe
from ispkit.isp.stages import STAGES

if TYPE_CHECKING:
    from ispkit.io.pictures import Look
    from ispkit.isp.tiled import Codes

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
LOG, RECIPE = "ispkit_log.jsonl", "ispkit_recipe.yaml"


@dataclass(frozen=True)
class Output:
    """What is written: a window in px of the upright picture, the longer edge, format and depth."""

    crop: tuple[int, int, int, int] | None = None
    size: int | None = None
    format: str = "png"
    bits: int = 8
    quality: int = 95


@dataclass(frozen=True)
class Job:
    """One RAW file and its picture; everything a worker process needs, as plain data."""

    raw: str
    picture: str
    recipe: dict[str, Any]
    output: Output
    geometry: str | None = None
    sidecar: str | None = None
    executor: str = "auto"
    stages: str | None = None

    def key(self) -> str:
        """Changes when the RAW file, its sidecar, a file of the recipe, a setting or the toolkit does."""
        stat = os.stat(self.raw)
        sidecar = self.sidecar or find_sidecar(self.raw)
        facts = [asdict(self), stat.st_size, stat.st_mtime_ns, version("ispkit")]
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
        for path in (sidecar, *_recipe_files(self.recipe)):
            if path is not None and Path(path).is_file():
                digest.update(Path(path).read_bytes())
        return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Outcome:
    """What became of a job; `error` is one sentence, empty if all went well."""

    raw: str
    picture: str
    width: int = 0
    height: int = 0
    seconds: float = 0.0
    skipped: bool = False
    error: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Plan:
    """All jobs of one command; `folder` is the run folder, None where a single file was asked for."""

    jobs: list[Job]
    folder: Path | None = None
    recipe: dict[str, Any] = field(default_factory=dict)


def look(preset_name: str | None, recipe: Path | None, settings: Sequence[str]) -> dict[str, Any]:
    """The resolved recipe: a preset or file with `stage.knob=value` settings on top."""
    if preset_name is not None and recipe is not None:
        raise ParamError(f"--preset {preset_name} and --recipe {recipe} exclude each other; give one")
    pipeline = load_recipe(recipe) if recipe else preset(preset_name or "neutral")
    return to_recipe(pipeline, dict(_setting(pipeline, text) for text in settings))


def _setting(pipeline: Pipeline, text: str) -> tuple[str, Value]:
    name, equals, word = (part.strip() for part in text.partition("="))
    if not equals:
        raise ParamError(f"--set {text!r} is not STAGE.KNOB=VALUE")
    pipeline.check({name: 0.0}, names_only=True)
    knob = pipeline.space[name]
    try:
        value: Value = float(word)
    except ValueError:
        value = word
    if isinstance(value, float) and hasattr(knob, "options"):
        value = word
    knob.check(name, value)
    return name, value


def parse_crop(text: str | None) -> tuple[int, int, int, int] | None:
    """`X,Y,W,H` as four whole numbers."""
    if text is None:
        return None
    try:
        x, y, width, height = (int(part) for part in text.split(","))
    except ValueError:
        raise ParamError(f"--crop {text!r} is not X,Y,W,H in whole pixels, as in 100,200,512,512") from None
    return x, y, width, height


def plan(
    raws: Sequence[Path],
    out: Path,
    *,
    look: dict[str, Any],
    output: Output,
    geometry: str | None = None,
    sidecar: Path | None = None,
    executor: str = "auto",
    stages: Path | None = None,
) -> Plan:
    """Which RAW becomes which picture. Raises before anything is written if the request makes no sense."""
    parse_geometry(geometry)
    files = list(_raw_files(raws))
    single = out.suffix.lower() in PICTURES
    if out.suffix and not single and not out.is_dir():
        raise ParamError(f"-o {out}: {out.suffix} is not written; use .png, .jpg or .tif, or an existing folder")
    if single and len(files) != 1:
        raise ParamError(f"-o {out} names one picture, but {len(files)} RAW files were given; name a folder")
    suffix = out.suffix.lower() if single else f".{output.format.lower().lstrip('.')}"
    if suffix not in PICTURES:
        raise ParamError(f"--format {output.format!r} is not png, jpg or tif")
    if output.bits not in (8, 16) or (output.bits == 16 and suffix in (".jpg", ".jpeg")):
        raise ParamError(f"--bits {output.bits} does not fit {suffix}; use 8, or 16 with png or tif")
    output = replace(output, format=suffix)
    targets = [out] if single else targets_in(files, out, suffix)
    for raw, target in zip(files, targets, strict=True):
        refuse_overwriting(target, raw, sidecar)
    jobs = [
        Job(
            str(raw),
            str(target),
            look,
            output,
            geometry=geometry,
            sidecar=None if sidecar is None else str(sidecar),
            executor=executor,
            stages=_stage_folder(stages, raw, len(files)),
        )
        for raw, target in zip(files, targets, strict=True)
    ]
    return Plan(jobs, None if single else out, look)


def _recipe_files(recipe: Mapping[str, Any]) -> Iterator[str]:
    """The files that a resolved recipe names, such as a look or a learned ISP's weights."""
    if learned_jobs.is_learned(recipe):
        yield recipe["isp"]
        return
    for entry in recipe["stages"]:
        ((label, settings),) = entry.items()
        for option in STAGES[label.split("@", maxsplit=1)[0]].options:
            if settings.get(option) is not None:
                yield settings[option]


def _stage_folder(stages: Path | None, raw: Path, count: int) -> str | None:
    if stages is None:
        return None
    return str(stages if count == 1 else stages / raw.stem)


def _raw_files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        found = sorted(p for p in path.rglob("*") if RAW_SUFFIXES.fullmatch(p.suffix) and p.is_file())
        if not found:
            raise FileError(f"{path}: a folder without RAW files (looked for .dng, .nef, .cr3, .arw, .raw, ...)")
        yield from found


def targets_in(files: Sequence[Path], folder: Path, suffix: str) -> list[Path]:
    """One picture a file, named after it; two files of one name keep their suffix or a number."""
    names: set[str] = set()
    targets = []
    for file in files:
        candidates = [file.stem, file.name.replace(".", "_"), *(f"{file.stem}_{i}" for i in range(2, len(files) + 2))]
        name = next(c for c in candidates if c.lower() not in names)
        names.add(name.lower())
        targets.append(folder / f"{name}{suffix}")
    return targets


def run_all(plan: Plan, *, workers: int = 1, force: bool = False, quiet: bool = False) -> list[Outcome]:
    """Run the jobs, here or in `workers` processes, with a progress bar; finished ones are skipped."""
    finished = {} if force or plan.folder is None else _finished(plan.folder)
    if plan.folder is not None:
        make_folder(plan.folder)
    todo: list[Job] = []
    outcomes: dict[str, Outcome] = {}
    for job in plan.jobs:
        known = finished.get(job.picture) if finished else None
        if known and Path(job.raw).is_file() and Path(job.picture).is_file() and job.key() == known:
            outcomes[job.picture] = Outcome(job.raw, job.picture, skipped=True)
        else:
            todo.append(job)
    for job, outcome in _progress(_run(todo, workers), len(todo), quiet=quiet or len(todo) < 2):
        outcomes[job.picture] = outcome
        if plan.folder is not None and not outcome.error:
            _log(plan, plan.folder, job, outcome)
    return [outcomes[job.picture] for job in plan.jobs]


def make_folder(folder: Path) -> None:
    """Make a folder and its parents, or raise `FileError`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"{folder}: cannot be made a folder ({error.strerror})") from error


def _run(jobs: Sequence[Job], workers: int) -> Iterator[tuple[Job, Outcome]]:
    if workers == 1 or len(jobs) < 2:
        for job in jobs:
            yield job, run_job(job)
        return
    workers = min(workers, len(jobs))
    threads = max(1, (os.cpu_count() or 1) // workers)
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_start_worker, initargs=(threads,)) as pool:
        futures: dict[Future[Outcome], Job] = {pool.submit(run_job, job): job for job in jobs}
        try:
            for done in as_completed(futures):
                yield futures[done], _result(futures[done], done)
        except BaseException:  # an interruption: the running files end, the waiting ones do not start
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _result(job: Job, done: Future[Outcome]) -> Outcome:
    try:
        return done.result()
    except BrokenProcessPool:
        return Outcome(job.raw, job.picture, error=f"{job.raw}: the worker process died; try --workers 1")


def _start_worker(threads: int) -> None:
    """In a worker: share the cores, and leave Ctrl-C to the parent, which ends the pool in order."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(threads)


def run_job(job: Job) -> Outcome:
    """Develop one file; an error becomes a sentence, so that one bad file does not stop the others."""
    start = time.perf_counter()
    try:
        height, width = _develop(job)
    except Exception as error:
        if not is_expected(error):
            raise
        text = one_line(error)
        return Outcome(job.raw, job.picture, error=text if job.raw in text else f"{job.raw}: {text}")
    return Outcome(job.raw, job.picture, width, height, time.perf_counter() - start)


def _develop(job: Job) -> tuple[int, int]:
    from ispkit.io.load import load
    from ispkit.io.pictures import write_picture
    from ispkit.isp.develop import scaled

    frame = load(job.raw, geometry=parse_geometry(job.geometry), sidecar=job.sidecar)
    if learned_jobs.is_learned(job.recipe):
        output = job.output
        codes, look = learned_jobs.develop(job.recipe, frame, bits=output.bits, crop=output.crop, stages=job.stages)
    else:
        codes, look = _developed(job, frame)
    if job.output.size is not None:
        codes = scaled(codes, job.output.size)
    write_picture(job.picture, codes, quality=job.output.quality, look=look)
    return codes.shape[0], codes.shape[1]


def _developed(job: Job, frame: Frame) -> tuple[Codes, Look]:
    from ispkit.isp.develop import Window, develop_frame, look_of

    pipeline = from_recipe(job.recipe)
    look = look_of(frame, pipeline)  # refuses a recipe that ends before a picture, before the work
    window = Window(*job.output.crop) if job.output.crop else None
    codes = develop_frame(frame, pipeline, bits=job.output.bits, crop=window, executor=job.executor)
    if job.stages:
        write_stages(frame, pipeline, Path(job.stages))
    return codes, look


def write_stages(frame: Frame, pipeline: Pipeline, folder: Path) -> None:
    """The picture after each stage as numbered PNGs; linear ones are shown with the sRGB curve."""
    from ispkit.io.pictures import write_picture
    from ispkit.isp.intermediates import stage_pictures

    make_folder(folder)
    for i, (name, picture) in enumerate(stage_pictures(pipeline, frame)):
        write_picture(folder / f"{i:02d}_{name.replace('@', '_')}.png", picture)


def _finished(folder: Path) -> dict[str, str]:
    """The key that each picture was last made with; a half-written last line is ignored."""
    keys: dict[str, str] = {}
    try:
        lines = (folder / LOG).read_text(encoding="utf-8").splitlines()
    except OSError:
        return keys
    for line in lines:
        try:
            entry = json.loads(line)
            keys[entry["picture"]] = entry["key"]
        except (ValueError, KeyError, TypeError):
            continue
    return keys


def _log(plan: Plan, folder: Path, job: Job, outcome: Outcome) -> None:
    """One line a finished picture; the resolved recipe stands beside it from the first on."""
    recipe = yaml.safe_dump(plan.recipe, sort_keys=False).encode()
    if not (folder / RECIPE).is_file() or (folder / RECIPE).read_bytes() != recipe:
        write_bytes(folder / RECIPE, recipe)
    facts = {"key": job.key(), "ispkit": version("ispkit"), "torch": version("torch"), **outcome.as_dict()}
    with (folder / LOG).open("a", encoding="utf-8") as log:
        log.write(json.dumps(facts) + "\n")


def _progress(done: Iterator[tuple[Job, Outcome]], total: int, *, quiet: bool) -> Iterator[tuple[Job, Outcome]]:
    if quiet:
        yield from done
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("developing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=total)
        for item in done:
            bar.advance(task)
            yield item
