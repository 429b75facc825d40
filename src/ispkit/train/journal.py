"""What a training tells: lines in log.jsonl, TensorBoard where it is installed, a progress callback, curves.png."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ispkit.io.atomic import write_bytes
from ispkit.train.run_folder import TrainFolder


@dataclass(frozen=True)
class Progress:
    """Where a training stands, for who watches."""

    phase: str
    phases: tuple[int, int]
    """number of the phase, from 1, and of all"""
    step: int
    share: float
    """of the phase"""
    loss: float
    score: tuple[str, float] | None
    """measure and value of the last evaluation, for `worded`"""
    seconds_left: float
    """of the phase, NaN before it is known"""


_MEASURES = {
    "psnr_db": ("PSNR in dB", "{:.2f} dB"),
    "top1": ("top-1", "{:.1%}"),
    "found": ("1 - soft miss rate", "{:.3f}"),
    "pixels": ("right pixels", "{:.1%}"),
}
"""what is measured on held-out pictures: words for an axis, and how a value is written"""


def worded(facts: Mapping[str, Any]) -> str:
    """The score among the facts of an event, such as "held out 31.20 dB"; empty where there is none."""
    told = [words.format(facts[k]) for k, (_, words) in _MEASURES.items() if facts.get(k) is not None]
    return f"held out {told[0]}" if told else ""


def measured(facts: Mapping[str, Any]) -> dict[str, float]:
    """The score among the facts of an event, by its measure; empty where there is none."""
    return {k: facts[k] for k in _MEASURES if facts.get(k) is not None}


def _silent(_: Any) -> None:
    pass


def _never() -> bool:
    return False


@dataclass(frozen=True)
class Hooks:
    """What the caller of a training wants to know, and says."""

    progress: Callable[[Progress], None] = _silent
    warn: Callable[[str], None] = _silent
    rendering: Callable[[int, int], None] | None = None
    """(done, of all) while the pictures of a mimicked ISP are made"""
    stop: Callable[[], bool] = _never
    """asked after every step; True ends the sitting with a checkpoint and a `KeyboardInterrupt`"""


class Journal:
    """The written record of one sitting; one without a folder writes nothing."""

    def __init__(self, room: TrainFolder | None) -> None:
        self.room = room
        self._board = _tensorboard(room) if room is not None else None

    def note(self, step: int, **facts: Any) -> None:
        """One line; numbers go to TensorBoard, too. Raises `FileError`."""
        if self.room is not None:
            self.room.note(step=step, **facts)
        if self._board is not None:
            for name, value in facts.items():
                for key, number in value.items() if isinstance(value, Mapping) else ((name, value),):
                    if isinstance(number, float):
                        self._board.add_scalar(f"{name}/{key}" if key != name else name, number, step)

    def close(self) -> None:
        """End the sitting; draws the curves."""
        if self._board is not None:
            self._board.close()
        if self.room is not None and self.room.log.is_file():
            write_curves(self.room)


def write_curves(room: TrainFolder) -> None:
    """curves.png: the loss and the held-out score over steps, phase by phase. Raises `FileError`."""
    from matplotlib.figure import Figure  # no pyplot: no global state, no display

    page = Figure(figsize=(8, 6), layout="constrained")
    above, below = page.subplots(2, 1, sharex=True)
    events = room.events()
    for phase in dict.fromkeys(e["phase"] for e in events if "phase" in e):
        losses = [(e["step"], sum(e["loss"].values())) for e in events if e.get("phase") == phase and "loss" in e]
        lines = [(above, phase, losses)]
        for measure, (words, _) in _MEASURES.items():
            scores = [(e["step"], e[measure]) for e in events if e.get("phase") == phase and measure in measured(e)]
            lines.append((below, f"{phase}, {words}", scores))
        for axes, label, points in lines:
            if points:
                axes.plot(*zip(*points, strict=True), label=label, marker="." if len(points) < 40 else None)
    if all(sum(e["loss"].values()) > 0 for e in events if "loss" in e):
        above.set_yscale("log")
    above.set_ylabel("loss")
    below.set_ylabel("held-out score")
    below.set_xlabel("steps")
    for axes in (above, below):
        axes.grid(visible=True, color="#e4e4e4", linewidth=0.7)
        if axes.lines:
            axes.legend()
    buffer = io.BytesIO()
    page.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    write_bytes(room.curves, buffer.getvalue())


def _tensorboard(room: TrainFolder) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(room.path / "tensorboard"))  # type: ignore[no-untyped-call, unused-ignore]
