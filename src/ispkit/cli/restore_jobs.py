"""The work behind `ispkit restore`: which picture becomes which file, and what is done with it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ispkit.cli.guards import is_expected, is_out_of_memory, one_line
from ispkit.cli.jobs import make_folder
from ispkit.core.errors import DomainError, FileError, ParamError
from ispkit.io.pictures import FORMATS, Look, Picture, read_picture, write_picture

if TYPE_CHECKING:
    from ispkit.isp.learned.learned_isp import LearnedISP
    from ispkit.isp.learned.tiles import Execution
    from ispkit.metrics.niqe import NiqeModel

RESTORED, COMPARED = "_restored", "_compare"
"""what stands behind the name of a restored picture, of one side by side with its input"""
_DEEPEST = {"PNG": 16, "TIFF": 32, "JPEG": 8}
_GAP = 8  # px of white between before and after


@dataclass(frozen=True)
class Job:
    """One picture and where it goes."""

    picture: Path
    target: Path
    compare: Path | None = None
    """before and after side by side"""

    @property
    def outputs(self) -> list[Path]:
        """All files that it writes."""
        return [self.target, *([self.compare] if self.compare is not None else [])]


@dataclass(frozen=True)
class Restorer:
    """The ISP, and how it is used."""

    isp: LearnedISP
    weights: Path
    execution: Execution
    quality: int = 95
    """of a JPEG"""
    niqe: NiqeModel | None = None
    """scores each picture before and after"""


@dataclass(frozen=True)
class Outcome:
    """What became of a picture; `error` is one sentence, empty if all went well."""

    picture: str
    restored: str
    width: int = 0
    height: int = 0
    bits: int = 0
    """of what is written"""
    seconds: float = 0.0
    skipped: bool = False
    error: str = ""
    compare: str | None = None
    scores: dict[str, float | None] = field(default_factory=dict)
    """niqe_before, niqe_after where wanted; None for a picture that NIQE has no number for"""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        told = asdict(self)
        return {**{k: v for k, v in told.items() if k != "scores"}, **told["scores"]}


def open_restorer(weights: Path, device: str) -> LearnedISP:
    """The ISP of a weights file on a device. Raises `FileError`, `ParamError`, and `DomainError` for one of RAW."""
    from ispkit.isp.learned.restore import check_restores
    from ispkit.isp.learned.weights import load_learned

    isp, card = load_learned(weights)
    try:
        check_restores(isp)
    except DomainError as error:
        remedy = f"ispkit render RAW --isp {weights} -o OUT develops RAW files with it; train one by ispkit train dir"
        raise DomainError(f"{weights}: {card.name} does not restore pictures ({error}); {remedy}") from error
    try:
        return isp.to(device)
    except (RuntimeError, AssertionError) as error:
        brief = " ".join(str(error).split())[:120]
        raise ParamError(f"--device {device!r}: torch cannot use it here ({brief}); use cpu") from error


def plan(pictures: Sequence[Path], out: Path | None, *, compare: bool = False) -> list[Job]:
    """Which picture becomes which file. Raises `ParamError`, `FileError` before anything is written.

    A folder stands for every picture in it and below; those that an earlier call wrote are left out.
    """
    single = out is not None and out.suffix.lower() in FORMATS and not out.is_dir()
    if out is not None and out.suffix and not single and not out.is_dir():
        raise ParamError(f"-o {out}: {out.suffix} is not written; use .png, .jpg or .tif, or an existing folder")
    found = list(_found(pictures, out))
    if single and len(found) != 1:
        raise ParamError(f"-o {out} names one picture, but {len(found)} were given; name a folder")
    taken: set[str] = set()
    jobs = []
    for picture, below in found:
        named = _named(picture, out, below)
        job = next(j for j in _jobs(picture, out if single and out else named, compare) if _are_free(j, taken))
        taken.update(str(output).lower() for output in job.outputs)
        jobs.append(job)
    _refuse_inputs(jobs)
    return jobs


def run_all(jobs: Sequence[Job], restorer: Restorer, *, force: bool = False, quiet: bool = False) -> list[Outcome]:
    """Restore all, with a progress bar; what is there and newer than picture and weights is skipped."""
    return [_outcome(job, restorer, force) for job in _progress(jobs, quiet=quiet or len(jobs) < 2)]


def _found(pictures: Sequence[Path], out: Path | None) -> Iterator[tuple[Path, Path]]:
    """Each picture once, and the folder below -o that it belongs into."""
    seen: set[Path] = set()
    for path in pictures:
        for picture in _pictures_of(path, out) if path.is_dir() else [path]:
            real = picture.resolve()
            if real not in seen:
                seen.add(real)
                yield picture, picture.parent.relative_to(path) if path.is_dir() else Path()


def _pictures_of(folder: Path, out: Path | None) -> list[Path]:
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in FORMATS and p.is_file())
    if out is not None and out.is_dir() and out.resolve() != folder.resolve():
        found = [p for p in found if out.resolve() not in p.resolve().parents]
    stems = {p.with_suffix("") for p in found}
    own = [p for p in found if not _is_written(p, stems) and not p.name.startswith(".")]
    if not own:
        raise FileError(f"{folder}: a folder without pictures (looked for {', '.join(FORMATS)})")
    return own


def _is_written(path: Path, stems: set[Path]) -> bool:
    """Whether the name is one that this command gives to what it makes of a picture that is there."""
    base = path.stem.removesuffix(COMPARED).removesuffix(RESTORED)
    return base != path.stem and path.with_name(base) in stems


def _named(picture: Path, out: Path | None, below: Path) -> Path:
    """With -o the picture's own name, else NAME_restored beside it; what is no picture is refused when it is read."""
    suffix = picture.suffix if picture.suffix.lower() in FORMATS else ".png"
    if out is None:
        return picture.with_name(f"{picture.stem}{RESTORED}{suffix}")
    return out / below / f"{picture.stem}{suffix}"


def _jobs(picture: Path, target: Path, compare: bool) -> Iterator[Job]:
    """The job under its name, then under numbered ones."""
    for number in count(1):
        own = target if number == 1 else target.with_stem(f"{target.stem}_{number}")
        yield Job(picture, own, own.with_stem(own.stem + COMPARED) if compare else None)


def _are_free(job: Job, taken: set[str]) -> bool:
    return not any(str(output).lower() in taken for output in job.outputs)


def _refuse_inputs(jobs: Sequence[Job]) -> None:
    """Raise `ParamError` if an output is any input of this call, by whatever name."""
    inputs = {(s.st_dev, s.st_ino) for s in (j.picture.stat() for j in jobs if j.picture.is_file())}
    for output in (output for job in jobs for output in job.outputs if output.exists()):
        facts = output.stat()
        if (facts.st_dev, facts.st_ino) in inputs:
            raise ParamError(f"{output} is an input of this command; choose another name or folder with -o")


def _outcome(job: Job, restorer: Restorer, force: bool) -> Outcome:
    """Restore one picture; an error becomes a sentence, so that one bad file does not stop the others."""
    start = time.perf_counter()
    try:
        skipped = not force and _is_fresh(job, restorer.weights)
        before = read_picture(job.picture)
        if not skipped:
            _restore(job, before, restorer)
        return _finished(job, before, restorer.niqe, time.perf_counter() - start, skipped=skipped)
    except Exception as error:
        if not is_expected(error):
            raise
        lacking = isinstance(error, MemoryError) or is_out_of_memory(error)
        text = "not enough memory; use a smaller --tile" if lacking else one_line(error)
        told = text if str(job.picture) in text else f"{job.picture}: {text}"
        return Outcome(str(job.picture), str(job.target), error=told)


def _is_fresh(job: Job, weights: Path) -> bool:
    """Whether all outputs are there and newer than what they are made of."""
    made_of = [path.stat().st_mtime_ns for path in (job.picture, weights) if path.exists()]
    return all(output.is_file() and output.stat().st_mtime_ns > max(made_of, default=0) for output in job.outputs)


def _restore(job: Job, before: Picture, restorer: Restorer) -> None:
    from ispkit.io.picture_facts import picture_facts
    from ispkit.isp.learned.restore import is_gray, restore_picture

    _check_encoded(job.picture, before)
    made = restore_picture(before.pixels, restorer.isp, execution=restorer.execution)
    look = Look(before.color_space or "srgb", exif=picture_facts(job.picture))
    make_folder(job.target.parent)
    bits = _bits(before, job.target)
    gray = is_gray(before.pixels)
    write_picture(job.target, made[..., 0] if gray else made, bits=bits, quality=restorer.quality, look=look)
    if job.compare is not None:
        white = np.ones((made.shape[0], _GAP, 3), np.float32)
        strip = np.concatenate([before.pixels, white, made], axis=1)
        write_picture(job.compare, strip, bits=8, quality=restorer.quality, look=Look(look.color_space))


def _check_encoded(path: Path, picture: Picture) -> None:
    """Raise `FileError` for a picture whose numbers are not those that nets of finished pictures read."""
    if picture.color_space is None and picture.profile_name is not None:
        name = repr(picture.profile_name)
        raise FileError(f"{path}: its color profile {name} is not known; convert the picture to sRGB")
    if picture.linear or picture.color_space in ("xyz", "linear-srgb"):
        raise FileError(f"{path}: holds linear light; what is restored is a finished picture, encode it first")
    if not np.isfinite(picture.pixels).all():
        raise FileError(f"{path}: holds values that are no finite numbers")


def _bits(picture: Picture, target: Path) -> int:
    """The input's depth, or the deepest that the output's format has."""
    return min(picture.bits, _DEEPEST[FORMATS[target.suffix.lower()]])


def _finished(job: Job, before: Picture, model: NiqeModel | None, seconds: float, *, skipped: bool) -> Outcome:
    height, width = before.pixels.shape[:2]
    scores: dict[str, float | None] = {}
    if model is not None:
        after = read_picture(job.target).pixels  # what was written, with its format's losses
        scores = {"niqe_before": _niqe(before.pixels, model), "niqe_after": _niqe(after, model)}
    return Outcome(
        str(job.picture),
        str(job.target),
        width,
        height,
        bits=_bits(before, job.target),
        seconds=seconds,
        skipped=skipped,
        compare=None if job.compare is None else str(job.compare),
        scores=scores,
    )


def _niqe(pixels: Any, model: NiqeModel) -> float | None:
    """NIQE of (H, W, 3); None where a picture is too small for it or has no texture."""
    import torch

    from ispkit.core.errors import ShapeError
    from ispkit.metrics.niqe import niqe

    try:
        value = float(niqe(torch.from_numpy(pixels).permute(2, 0, 1)[None], data_range=1.0, model=model))
    except ShapeError:
        return None
    return value if np.isfinite(value) else None


def _progress(jobs: Sequence[Job], *, quiet: bool) -> Iterator[Job]:
    if quiet:
        yield from jobs
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(jobs, "restoring", console=Console(stderr=True))
