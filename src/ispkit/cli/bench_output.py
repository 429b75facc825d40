"""What every `ispkit bench` command shares: where results go, how they are told, the command line they came from."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ispkit.bench.experiment import Experiment
    from ispkit.cli.tuning_bars import Bars
    from ispkit.tune.plan import Hooks

_CHECKOUT = Path("docs/results")


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
        """Keep and tell the outcome."""
        from ispkit.bench.experiment import write_experiment

        self.tell(*write_experiment(self.results, experiment))

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
        yield Room(name, work, place, as_json, bars)


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
