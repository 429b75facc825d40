"""What every `ispkit bench` command shares: where results go, how they are told, the command line they came from."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ispkit.bench.experiment import Experiment
    from ispkit.cli.tuning_bars import Bars
    from ispkit.tune.plan import Hooks

_CHECKOUT = Path("docs/results")
_SECONDS = "seconds.json"


@dataclass(frozen=True)
class Room:
    """Folders of one experiment and how it is shown."""

    name: str
    out: Path
    """run folders, to go on with"""
    results: Path
    """NAME.json and NAME.md"""
    as_json: bool
    bars: Bars

    def hooks(self) -> Callable[[str], Hooks]:
        """Progress of each study of the experiment."""
        return self.bars.hooks

    def write(self, experiment: Experiment) -> None:
        """Keep and tell the outcome; its seconds are those of all calls of this command in this folder."""
        from ispkit.bench.experiment import write_experiment

        whole = replace(experiment, seconds=max(experiment.seconds, self._worked_s().get(command_line(), 0.0)))
        self.tell(*write_experiment(self.results, whole))

    def worked(self, seconds: float) -> None:
        """Add what this call took to what earlier ones of the same command did."""
        from ispkit.io.atomic import write_bytes

        kept, command = self._worked_s(), command_line()
        kept[command] = round(kept.get(command, 0.0) + seconds, 1)
        write_bytes(self.out / _SECONDS, (json.dumps(kept, indent=1) + "\n").encode())

    def _worked_s(self) -> dict[str, float]:
        """Command -> seconds."""
        try:
            kept = json.loads((self.out / _SECONDS).read_text(encoding="utf-8"))
            return {str(command): float(seconds) for command, seconds in kept.items()}
        except (OSError, ValueError, AttributeError):
            return {}

    def tell(self, data: Path, page: Path) -> None:
        """Print tables and claims of a result that is written; pictures beside the run folders go with it."""
        facts = json.loads(data.read_text(encoding="utf-8"))
        _take_pictures(self.out, self.results, page.read_text(encoding="utf-8"))
        if self.as_json:
            print(json.dumps(facts))
            return
        for line in _lines(facts):
            print(line)
        print(f"\n{page}\n{data}")


@contextmanager
def experiment_room(name: str, out: Path | None, results: Path | None, *, as_json: bool) -> Iterator[Room]:
    """The folders, made where they are missing, and the progress. Raises `FileError`."""
    from rich.console import Console

    from ispkit.cli.jobs import make_folder
    from ispkit.cli.tuning_bars import Bars

    work = out or Path("bench_out") / name
    place = results or (_CHECKOUT if Path("src/ispkit/bench").is_dir() else work)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    with Bars(console, quiet=as_json) as bars:
        for folder in (work, place):
            make_folder(folder)
        room, began = Room(name, work, place, as_json, bars), time.monotonic()
        try:
            yield room
        finally:
            room.worked(time.monotonic() - began)


def command_line() -> str:
    """As the user typed it."""
    return shlex.join(["ispkit", *sys.argv[1:]])


def folders(flag: str, paths: list[Path] | None) -> tuple[str, ...]:
    """Folders of pictures that are there. Raises `FileError`."""
    from ispkit.core.errors import FileError

    for path in paths or ():
        if not path.is_dir():
            raise FileError(f"{flag}: no such folder: {path}")
    return tuple(str(path) for path in paths or ())


def one_of(flag: str, word: str, known: Any) -> str:
    """The word, if it is known. Raises `ParamError`."""
    from ispkit.core.errors import ParamError, nearest

    if word not in known:
        raise ParamError(f"{flag}: no {word!r}; {nearest(word, known)}")
    return word


def _take_pictures(out: Path, results: Path, page: str) -> None:
    if out.resolve() == results.resolve():
        return
    for path in out.glob("*.png"):
        if path.name in page:
            shutil.copyfile(path, results / path.name)


def _lines(facts: dict[str, Any]) -> Iterator[str]:
    from ispkit.bench.experiment import markdown_table

    yield f"{facts['title']}: {facts['budget']}; {facts['seconds']:.0f} s"
    for table in facts["tables"]:
        if table["rows"]:
            yield f"\n{table['heading']}\n{markdown_table(table['rows'])}"
        if table["note"]:
            yield table["note"]
    for claim in facts["claims"]:
        yield f"\n{'shown' if claim['met'] else 'NOT SHOWN'}: {claim['text']} ({claim['measured']})"
