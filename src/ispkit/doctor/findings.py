"""What an examination says: one `Finding` per check, a `Report` for the file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from ispkit.doctor.dump_search import Candidate, DumpSearch
from ispkit.io.geometry import Facts

Verdict = Literal["ok", "warning", "problem", "undeterminable"]


@dataclass(frozen=True)
class Finding:
    """The outcome of one check."""

    check: str
    verdict: Verdict
    what: str
    """one sentence"""
    where: str = "whole picture"
    remedy: str = ""
    """what to do; empty if nothing"""
    numbers: Mapping[str, Any] = field(default_factory=dict)
    """plain numbers, ready for JSON"""


@dataclass(frozen=True)
class Report:
    """All findings about a file, and the facts that a sidecar should state."""

    file: str
    kind: str
    """"file" where it says itself what it holds, "dump" where that was searched for"""
    findings: tuple[Finding, ...]
    suggested: Facts | None
    """what a sidecar should say; None if the file is right as it is, or nothing can be said"""
    search: DumpSearch | None = None

    @property
    def worst(self) -> Verdict:
        """The gravest verdict."""
        order: tuple[Verdict, ...] = ("problem", "warning", "undeterminable", "ok")
        return next(v for v in order if v == "ok" or any(f.verdict == v for f in self.findings))

    def finding(self, check: str) -> Finding:
        """The finding of one check."""
        return next(f for f in self.findings if f.check == check)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "file": self.file,
            "kind": self.kind,
            "worst": self.worst,
            "findings": [asdict(f) for f in self.findings],
            "suggested": None if self.suggested is None else self.suggested.stated(),
            "candidates": [] if self.search is None else [describe(c) for c in self.search.candidates],
        }


def describe(candidate: Candidate) -> dict[str, Any]:
    """A dump's candidate as plain data."""
    place = candidate.layout
    return {
        "width": place.width,
        "height": place.height,
        "encoding": candidate.encoding.name,
        "bits": candidate.depth.bits,
        "align": candidate.depth.align,
        "stride": place.stride,
        "offset": place.offset,
        "trailing": place.trailing,
        "bits_per_byte": round(candidate.bits_per_byte, 4),
        "log_score": round(candidate.log_score, 2),
        "probability": round(candidate.probability, 4),
    }
