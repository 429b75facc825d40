"""Counts and times of one server as Prometheus reads them (text format 0.0.4), without a further package."""

from __future__ import annotations

import bisect
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
SIZES = (1, 2, 4, 8, 16, 32, 64)
_FAILED = 400


class Histogram:
    """How many values were at most each bound, with their sum and number."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0
        self._lock = threading.Lock()

    def add(self, value: float) -> None:
        """One value more."""
        with self._lock:
            self.counts[bisect.bisect_left(self.bounds, value)] += 1
            self.total += value

    def lines(self, name: str, labels: str = "") -> Iterator[str]:
        """As Prometheus reads it; `labels` like `part="isp"`."""
        with self._lock:
            counts, total = list(self.counts), self.total
        before, cumulated = f"{labels}," if labels else "", 0
        for bound, count in zip((*map(str, self.bounds), "+Inf"), counts, strict=True):
            cumulated += count
            yield f'{name}_bucket{{{before}le="{bound}"}} {cumulated}'
        own = f"{{{labels}}}" if labels else ""
        yield f"{name}_sum{own} {total:.6f}"
        yield f"{name}_count{own} {cumulated}"


class Metrics:
    """What a server counts; any thread may add."""

    def __init__(self) -> None:
        self.began = time.time()
        self.requests: Counter[tuple[str, int]] = Counter()
        self.latency = Histogram(SECONDS)
        self.parts = {part: Histogram(SECONDS) for part in ("read", "decode", "queue", "isp", "head", "encode")}
        self.batches = Histogram(SIZES)
        self.gauges: dict[str, tuple[str, Callable[[], float]]] = {}
        """name -> (what it is, how it is read), of things that others own"""
        self._lock = threading.Lock()

    def answered(self, route: str, status: int, seconds: float | None = None) -> None:
        """One request more; `seconds` counts for the latency."""
        with self._lock:
            self.requests[route, status] += 1
        if seconds is not None:
            self.latency.add(seconds)

    @property
    def count(self) -> int:
        """Requests answered."""
        with self._lock:
            return sum(self.requests.values())

    @property
    def errors(self) -> int:
        """Of these the ones with a status from 400 on."""
        with self._lock:
            return sum(n for (_, status), n in self.requests.items() if status >= _FAILED)

    def text(self) -> str:
        """All of it."""
        return "\n".join([*self._counters(), *self._histograms(), *self._gauges(), ""])

    def _counters(self) -> Iterator[str]:
        with self._lock:
            rows = sorted(self.requests.items())
        yield from _head("ispkit_requests_total", "counter", "requests answered, by route and status")
        for (route, status), n in rows:
            yield f'ispkit_requests_total{{route="{route}",status="{status}"}} {n}'
        yield from _head("ispkit_errors_total", "counter", "requests answered with a status from 400 on")
        yield f"ispkit_errors_total {sum(n for (_, status), n in rows if status >= _FAILED)}"

    def _histograms(self) -> Iterator[str]:
        yield from _head("ispkit_latency_seconds", "histogram", "from a request's head to its answer, of good answers")
        yield from self.latency.lines("ispkit_latency_seconds")
        yield from _head("ispkit_part_seconds", "histogram", "parts of the latency; isp and head are whole batches'")
        for part, histogram in self.parts.items():
            yield from histogram.lines("ispkit_part_seconds", f'part="{part}"')
        yield from _head("ispkit_batch_size", "histogram", "frames that were worked on together")
        yield from self.batches.lines("ispkit_batch_size")

    def _gauges(self) -> Iterator[str]:
        own = {
            "uptime_seconds": ("since the start", lambda: time.time() - self.began),
            "resident_bytes": ("memory of the process", resident_bytes),
        }
        for name, (doc, read) in {**self.gauges, **own}.items():
            yield from _head(f"ispkit_{name}", "gauge", doc)
            yield f"ispkit_{name} {read():.3f}"


def _head(name: str, kind: str, doc: str) -> tuple[str, str]:
    return f"# HELP {name} {doc}", f"# TYPE {name} {kind}"


def resident_bytes() -> float:
    """Memory of this process that lies in RAM; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0.0
    import resource

    return float(pages * resource.getpagesize())
