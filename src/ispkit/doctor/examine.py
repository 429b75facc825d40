"""`examine`: all checks on one file, or the search for what a headerless dump holds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ispkit.core.cfa import CfaPattern
from ispkit.core.errors import FileError
from ispkit.core.frame import Domain, Frame
from ispkit.doctor.dump_search import MIN_BYTES, Candidate, DumpSearch, likely_depths, search_dump
from ispkit.doctor.encodings import Bytes
from ispkit.doctor.findings import Finding, Report, Verdict
from ispkit.doctor.levels import Levels, check_levels, measure_levels, suggested_black
from ispkit.doctor.noise import check_noise
from ispkit.doctor.phase import PhaseEvidence, find_phase
from ispkit.doctor.proof import Picture, contact_sheet, proof_picture
from ispkit.doctor.sanity import check_metadata
from ispkit.doctor.shading import check_shading
from ispkit.doctor.sites import Mosaic
from ispkit.io.binary import Source, name_of, path_of, read_bytes
from ispkit.io.containers import describe_other, identify
from ispkit.io.geometry import Facts, Geometry
from ispkit.io.load import load
from ispkit.io.mosaic_files import is_mosaic_file, read_mosaic
from ispkit.io.sidecar import find_sidecar

_MAX_PIXELS = 12_000_000
_BAND = 64
_SURE = 0.95
_SWAP = 0.95
_HEAD = 4096
_MAYBE_BARE = ("data without a known signature", "nothing but zero bytes", "text")


@dataclass(frozen=True)
class Examination:
    """A report and what its proof pictures are drawn from."""

    report: Report
    mosaic: Mosaic | None = None
    phase: PhaseEvidence | None = None
    levels: Levels | None = None
    data: Bytes | None = None

    def proof(self) -> Picture | None:
        """Phases, clipping and histograms; None where there is no mosaic."""
        if self.mosaic is None or self.phase is None or self.levels is None:
            return None
        return proof_picture(self.mosaic, self.phase, self.levels)

    def contact_sheet(self) -> Picture | None:
        """The candidates of a dump; None for a file that says itself what it holds."""
        if self.data is None or self.report.search is None:
            return None
        return contact_sheet(self.data, self.report.search, self.phase)


def examine(source: Source, geometry: Facts | None = None, *, as_dump: bool = False) -> Report:
    """What the pixels of a file say against what the file says. Raises `FileError`.

    Without `geometry` and sidecar a file of unknown signature is searched as a headerless dump; `as_dump`
    searches any file, whatever its first bytes look like and whatever stands beside it.
    """
    return examination(source, geometry, as_dump=as_dump).report


def examination(source: Source, geometry: Facts | None = None, *, as_dump: bool = False) -> Examination:
    """`examine`, with what the proof pictures need."""
    if as_dump or (geometry is None and _is_bare(source)):
        return _of_dump(source)
    head = read_bytes(source, _HEAD)
    if is_mosaic_file(head) and (geometry is None or geometry.cfa is None) and not _has_sidecar(source):
        facts = replace(geometry or Facts(bits=16), cfa="RGGB")
        return _of_file(name_of(source), read_mosaic(source, facts), stated=False)
    return _of_file(name_of(source), load(source, geometry=geometry), stated=True)


def _is_bare(source: Source) -> bool:
    head = read_bytes(source, _HEAD)
    if not head:
        raise FileError(f"{name_of(source)}: the file is empty (0 bytes)")
    if is_mosaic_file(head) or _has_sidecar(source) or describe_other(head) not in _MAYBE_BARE:
        return False
    if head[:2] in (b"II", b"MM") and head[2:4] in (b"*\0", b"\0*", b"RO", b"RS", b"SR", b"OR", b"U\0"):
        return False  # TIFF-like, perhaps damaged: its reader says what is wrong
    try:
        identify(head)
    except FileError:
        return True
    return False


def _has_sidecar(source: Source) -> bool:
    path = path_of(source)
    return path is not None and find_sidecar(path) is not None


def _of_file(name: str, frame: Frame, *, stated: bool) -> Examination:
    findings = check_metadata(frame.meta) if stated else []
    if frame.domain is not Domain.RAW:
        what = "the file holds no Bayer mosaic; there is no phase, level or site to check"
        findings.append(Finding("phase", "undeterminable", what))
        return Examination(Report(name, "file", tuple(findings), None))
    mosaic = _mosaic(frame, stated)
    phase, levels = find_phase(mosaic), measure_levels(mosaic)
    findings = [_phase_finding(mosaic.cfa, phase), *_pixel_findings(mosaic, levels), *findings]
    report = Report(name, "file", tuple(findings), _corrections(mosaic, phase, levels, findings))
    return Examination(report, mosaic, phase, levels)


def _mosaic(frame: Frame, stated: bool) -> Mosaic:
    pixels = _bands(frame.data[0, 0].detach().cpu().numpy())
    if not stated:
        return Mosaic(pixels)
    meta = frame.meta
    a, b, c, d = meta.black_level[0].tolist()
    e, f, g, h = meta.white_level[0].tolist()
    return Mosaic(pixels, meta.cfa, (a, b, c, d), (e, f, g, h))


def _bands(pixels: NDArray[Any]) -> NDArray[np.float32]:
    """The picture, or bands of rows all over it where it is large; the phase stays."""
    chosen = _band_rows(pixels.shape[0], pixels.shape[1])
    return (pixels if chosen is None else pixels[chosen]).astype(np.float32)


def _band_rows(height: int, width: int) -> NDArray[np.int64] | None:
    if height * width <= _MAX_PIXELS or height < 4 * _BAND:
        return None
    every = int(np.ceil(height * width / _MAX_PIXELS))
    starts = np.arange(0, height - _BAND + 1, _BAND * every)
    rows: NDArray[np.int64] = (starts[:, None] + np.arange(_BAND)[None]).ravel()
    return rows


def _pixel_findings(mosaic: Mosaic, levels: Levels) -> list[Finding]:
    if min(mosaic.size) < 64:
        return check_levels(mosaic, levels)
    return [*check_levels(mosaic, levels), *check_noise(mosaic), check_shading(mosaic)]


def _phase_finding(stated: CfaPattern | str | None, phase: PhaseEvidence) -> Finding:
    numbers = {"probabilities": phase.probabilities, "green_log_odds": phase.green_log_odds, **phase.red_log_odds}
    if not phase.determinable:
        return Finding("phase", "undeterminable", phase.reason, "2x2 sites", "state the pattern yourself", numbers)
    best, second = list(phase.probabilities)[:2]
    odds = phase.red_probability
    swap = f"red and blue can only be guessed from pixels: {best} {odds:.0%}, {second} {1 - odds:.0%}"
    if stated is None:
        sure = odds > _SWAP
        what = f"the pixels fit {best}; {swap}"
        look = "" if sure else "look at the proof picture and choose"
        return Finding("phase", "ok" if sure else "warning", what, "2x2 sites", look, numbers)
    if stated not in (best, second):
        what = f"the file says {stated}, but the greens lie as in {best} and {second}; {swap}"
        return Finding("phase", "problem", what, "2x2 sites", f"use cfa={best}", numbers)
    if stated == second and odds > _SWAP:
        what = f"the greens fit the stated {stated}; red and blue look swapped: {swap}"
        return Finding("phase", "warning", what, "2x2 sites", f"compare with cfa={best} in the proof picture", numbers)
    return Finding("phase", "ok", f"the greens lie as the stated {stated} says; {swap}", "2x2 sites", "", numbers)


def _corrections(mosaic: Mosaic, phase: PhaseEvidence, levels: Levels, findings: list[Finding]) -> Facts | None:
    """Facts that would heal the problems found; for a bare mosaic all that is known."""
    bad = {f.check for f in findings if f.verdict in ("problem", "warning")}
    grave = {f.check for f in findings if f.verdict == "problem"}
    facts: dict[str, Any] = {}
    if phase.determinable and ("phase" in grave or mosaic.cfa is None):
        facts["cfa"] = phase.best
    if mosaic.black is None or "black_level" in grave:
        facts["black_level"] = suggested_black(levels)
    tops = [s for s in levels.saturation if s is not None]
    if tops and ("white_level" in grave or (mosaic.white is None and "white_level" in bad)):
        facts["white_level"] = min(tops)
    if mosaic.white is None:
        top = float(mosaic.pixels.max())
        facts["bits"] = next(b for b in (8, 10, 12, 14, 16) if top < 2**b)
    return Facts(**facts) if facts else None


def _of_dump(source: Source) -> Examination:
    name = name_of(source)
    data = _bytes(source)
    if len(data) < MIN_BYTES:
        raise FileError(
            f"{name}: {len(data)} bytes are too few to find a geometry (at least {MIN_BYTES}); state it by flags"
        )
    search = search_dump(data)
    if not search.candidates:
        what = "the bytes have no structure of rows: no headerless dump of a picture, or compressed or constant"
        finding = Finding("geometry", "undeterminable", what, "whole file", "state the geometry by flags")
        return Examination(Report(name, "dump", (finding,), None, search), data=data)
    best = search.candidates[0]
    mosaic = Mosaic(_band_samples(data, best))
    phase, levels = find_phase(mosaic), measure_levels(mosaic)
    findings = [_geometry_finding(search), _depth_finding(data, best), _phase_finding(None, phase)]
    findings += _pixel_findings(mosaic, levels)
    suggested = _geometry(best, mosaic, phase, levels) if search.determinable else None
    report = Report(name, "dump", tuple(findings), suggested, search)
    return Examination(report, mosaic, phase, levels, data)


def _bytes(source: Source) -> Bytes:
    path = path_of(source)
    if path is None:
        return np.frombuffer(read_bytes(source), np.uint8)
    read_bytes(source, 1)  # complains in words about folders and permissions
    size = Path(path).stat().st_size
    return np.memmap(path, np.uint8, "r") if size else np.zeros(0, np.uint8)


def _band_samples(data: Bytes, candidate: Candidate) -> NDArray[np.float32]:
    place = candidate.layout
    rows = _band_rows(place.height, place.width)
    if rows is None:
        return candidate.samples(data).astype(np.float32)
    bands = [candidate.samples(data, slice(int(y), int(y) + _BAND)) for y in rows[::_BAND]]
    return np.concatenate(bands).astype(np.float32)


def _geometry_finding(search: DumpSearch) -> Finding:
    best = search.candidates[0]
    place = best.layout
    extra = f", {place.offset} bytes of header" if place.offset else ""
    padded = place.stride - best.encoding.rule.row_bytes(place.width, best.encoding.bits)
    extra += f", {padded} bytes of padding a row" if padded else ""
    words = f"{place.width}x{place.height}, {best.encoding.name}{extra}"
    numbers = {"basis": search.basis, "margin_nats": search.margin, "probability": best.probability}
    if not search.determinable:
        what = f"rows cannot be told from the pixels; by its size the file could be {words}"
        return Finding("geometry", "undeterminable", what, "whole file", "state the geometry by flags", numbers)
    basis = "rows predict each other" if search.basis == "picture" else "the fixed pattern of the columns repeats"
    verdict: Verdict = "ok" if best.probability > _SURE else "warning"
    remedy = "" if verdict == "ok" else "compare the candidates on the contact sheet"
    return Finding("geometry", verdict, f"{words}: {basis} ({best.probability:.1%})", "whole file", remedy, numbers)


def _depth_finding(data: Bytes, best: Candidate) -> Finding:
    options = likely_depths(data, best)
    first = options[0].depth
    numbers = {"bits": {str(o.depth.bits): o.depth.probability for o in options}, "align": first.align}
    if first.probability > _SURE:
        return Finding("bit_depth", "ok", f"{first.bits} bits", "samples", "", numbers)
    rest = ", ".join(f"{o.depth.bits} bits {o.depth.probability:.0%}" for o in options[1:3])
    verdict: Verdict = "ok" if first.probability > 0.5 else "warning"
    what = f"{first.bits} bits ({first.probability:.0%}); a dark exposure could also be {rest}"
    return Finding("bit_depth", verdict, what, "samples", "", numbers)


def _geometry(best: Candidate, mosaic: Mosaic, phase: PhaseEvidence, levels: Levels) -> Geometry:
    """The geometry in the words of a sidecar."""
    place, bits = best.layout, best.depth.bits
    encoding = best.encoding
    outliers = encoding.packing == "unpacked" and encoding.bits == 16 and float(mosaic.pixels.max()) >= 2**bits
    tops = [s for s in levels.saturation if s is not None]
    white = min(tops) if tops else float(2**bits - 1)
    tight = place.stride == encoding.rule.row_bytes(place.width, encoding.bits)
    return Geometry(
        width=place.width,
        height=place.height,
        bits=16 if outliers else bits,  # bright defects need the whole word
        packing=encoding.packing,
        byte_order="big" if encoding.big else "little",
        align="lsb" if outliers else best.depth.align,
        stride=None if tight else place.stride,
        offset=place.offset,
        trailing=place.trailing,
        cfa=phase.best if phase.determinable else None,
        black_level=min(suggested_black(levels), white - 1),
        white_level=white,
    )
