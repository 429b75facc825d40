"""The work behind `ispkit render`: which file becomes which picture, in what process, and what is done."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import yaml

from ispkit.cli.geometry import parse_geometry
from ispkit.core.errors import FileError, IspkitError, ParamError
from ispkit.core.frame import Frame
from ispkit.core.param import Value
from ispkit.io.atomic import write_bytes
from ispkit.isp.pipeline import Pipeline
from ispkit.isp.recipe import from_recipe, load_recipe, preset, to_recipe

NOT_WRITTEN = (".gif", ".webp", ".bmp", ".heic", ".avif", ".jxl", ".exr", ".jp2", ".ppm", ".dng", ".pdf")
PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
RAW_SUFFIXES = re.compile(
    r"\.(3fr|ari|arw|bay|cap|cr2|cr3|crw|dcr|dcs|dng|erf|fff|gpr|iiq|k25|kdc|mef|mos|mrw|nef|nrw"
    r"|orf|ori|pef|ptx|pxn|raf|raw|rw2|rwl|sr2|srf|srw|x3f)",
    re.IGNORECASE,
)
LOG, RECIPE = "log.jsonl", "recipe.yaml"


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
        """Changes when the RAW file or any setting does."""
        stat = os.stat(self.raw)
        facts = [asdict(self), stat.st_size, stat.st_mtime_ns]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


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


def look(preset_name: str, recipe: Path | None, settings: Sequence[str]) -> dict[str, Any]:
    """The resolved recipe: a preset or file with `stage.knob=value` settings on top."""
    pipeline = load_recipe(recipe) if recipe else preset(preset_name)
    return to_recipe(pipeline, dict(_setting(pipeline, text) for text in settings))


def _setting(pipeline: Pipeline, text: str) -> tuple[str, Value]:
    name, equals, word = (part.strip() for part in text.partition("="))
    if not equals:
        raise ParamError(f"--set {text!r} is not STAGE.KNOB=VALUE")
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
    if out.suffix.lower() in NOT_WRITTEN and not out.is_dir():
        raise ParamError(f"-o {out}: {out.suffix} pictures are not written; use .png, .jpg or .tif, or name a folder")
    if single and len(files) != 1:
        raise ParamError(f"-o {out} names one picture, but {len(files)} RAW files were given; name a folder")
    suffix = out.suffix.lower() if single else f".{output.format.lower().lstrip('.')}"
    if suffix not in PICTURES:
        raise ParamError(f"--format {output.format!r} is not png, jpg or tif")
    if output.bits not in (8, 16) or (output.bits == 16 and suffix in (".jpg", ".jpeg")):
        raise ParamError(f"--bits {output.bits} does not fit {suffix}; use 8, or 16 with png or tif")
    output = replace(output, format=suffix)
    targets = [out] if single else _targets(files, out, suffix)
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


def _targets(files: Sequence[Path], folder: Path, suffix: str) -> list[Path]:
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
        write_bytes(plan.folder / RECIPE, yaml.safe_dump(plan.recipe, sort_keys=False).encode())
    todo: list[Job] = []
    outcomes: dict[str, Outcome] = {}
    for job in plan.jobs:
        if finished and Path(job.raw).is_file() and Path(job.picture).is_file() and job.key() in finished:
            outcomes[job.picture] = Outcome(job.raw, job.picture, skipped=True)
        else:
            todo.append(job)
    for job, outcome in _progress(_run(todo, workers), len(todo), quiet=quiet or len(todo) < 2):
        outcomes[job.picture] = outcome
        if plan.folder is not None and not outcome.error:
            _log(plan.folder, job, outcome)
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
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_limit_threads, initargs=(threads,)) as pool:
        futures: dict[Future[Outcome], Job] = {pool.submit(run_job, job): job for job in jobs}
        for done in as_completed(futures):
            job = futures[done]
            try:
                yield job, done.result()
            except BrokenProcessPool:
                yield job, Outcome(job.raw, job.picture, error=f"{job.raw}: the worker process died; try --workers 1")


def _limit_threads(count: int) -> None:
    import torch

    torch.set_num_threads(count)


def run_job(job: Job) -> Outcome:
    """Develop one file; an error becomes a sentence, so that one bad file does not stop the others."""
    start = time.perf_counter()
    try:
        height, width = _develop(job)
    except (IspkitError, OSError, MemoryError) as error:
        reason = "not enough memory for this file" if isinstance(error, MemoryError) else str(error)
        text = " ".join(reason.split())
        return Outcome(job.raw, job.picture, error=text if job.raw in text else f"{job.raw}: {text}")
    return Outcome(job.raw, job.picture, width, height, time.perf_counter() - start)


def _develop(job: Job) -> tuple[int, int]:
    from ispkit.io.load import load
    from ispkit.io.pictures import write_picture
    from ispkit.isp.develop import Window, develop_frame, look_of, scaled

    frame = load(job.raw, geometry=parse_geometry(job.geometry), sidecar=job.sidecar)
    pipeline = from_recipe(job.recipe)
    look_of(frame, pipeline)  # refuses a recipe that ends before a picture, before the work
    window = Window(*job.output.crop) if job.output.crop else None
    codes = develop_frame(frame, pipeline, bits=job.output.bits, crop=window, executor=job.executor)
    if job.output.size is not None:
        codes = scaled(codes, job.output.size)
    if job.stages:
        write_stages(frame, pipeline, Path(job.stages))
    write_picture(job.picture, codes, quality=job.output.quality, look=look_of(frame, pipeline))
    return codes.shape[0], codes.shape[1]


def write_stages(frame: Frame, pipeline: Pipeline, folder: Path) -> None:
    """The picture after each stage as numbered PNGs; linear ones are shown with the sRGB curve."""
    from ispkit.io.pictures import write_picture
    from ispkit.isp.intermediates import stage_pictures

    make_folder(folder)
    for i, (name, picture) in enumerate(stage_pictures(pipeline, frame)):
        write_picture(folder / f"{i:02d}_{name.replace('@', '_')}.png", picture)


def _finished(folder: Path) -> set[str]:
    """Keys of the jobs that an earlier run finished; a half-written last line is ignored."""
    keys = set()
    try:
        lines = (folder / LOG).read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    for line in lines:
        try:
            keys.add(json.loads(line)["key"])
        except (ValueError, KeyError, TypeError):
            continue
    return keys


def _log(folder: Path, job: Job, outcome: Outcome) -> None:
    with (folder / LOG).open("a", encoding="utf-8") as log:
        log.write(json.dumps({"key": job.key(), **outcome.as_dict()}) + "\n")


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
