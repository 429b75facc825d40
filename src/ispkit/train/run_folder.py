"""The folder of one training: its recipe, log, checkpoints, curves and weights; one process works in it."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from ispkit.core.errors import FileError
from ispkit.io.atomic import write_bytes
from ispkit.io.lock import alone_in
from ispkit.train.config import Recipe
from ispkit.train.recipe import identity, to_data, to_recipe

_LIBRARIES = ("ispkit", "torch", "numpy")


class TrainFolder:
    """Paths, log and identity of a training."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.recipe = self.path / "recipe.yaml"
        self.environment = self.path / "env.json"
        self.log = self.path / "log.jsonl"
        self.result = self.path / "result.json"
        self.weights = self.path / "weights.safetensors"
        self.curves = self.path / "curves.png"
        self.checkpoints = self.path / "checkpoints"
        self.targets = self.path / "targets"

    def claim(self, recipe: Recipe, device: str) -> None:
        """Write what is trained where. Raises `FileError` if another recipe has learned something here."""
        begun = self.result.is_file() or any(self.checkpoints.glob("*.pt"))
        if begun and identity(self.stated()) != identity(recipe):
            old, new = to_data(self.stated()), to_data(recipe)
            other = ", ".join(key for key in new if old.get(key) != new[key])
            raise FileError(f"{self.path} holds a training by another recipe ({other} differ); choose another folder")
        self.checkpoints.mkdir(exist_ok=True)
        write_bytes(self.recipe, yaml.safe_dump(to_data(recipe), sort_keys=False, allow_unicode=True).encode())
        facts = {
            "python": sys.version.split()[0],
            "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
            "device": device,
            "libraries": {name: version(name) for name in _LIBRARIES},
        }
        write_bytes(self.environment, (json.dumps(facts, indent=2) + "\n").encode())

    def stated(self) -> Recipe:
        """The recipe that is trained here. Raises `FileError`, `RecipeError`."""
        try:
            return to_recipe(yaml.safe_load(self.recipe.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise FileError(f"{self.recipe}: cannot be read ({' '.join(str(error).split())})") from error

    def note(self, **facts: Any) -> None:
        """Append one line to log.jsonl. Raises `FileError`."""
        line = json.dumps({"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **facts}) + "\n"
        try:
            with self.log.open("a", encoding="utf-8") as file:
                file.write(line)
        except OSError as error:
            raise FileError(f"cannot write {self.log}: {error.strerror}; the last checkpoint is kept") from error

    def events(self) -> list[dict[str, Any]]:
        """The lines of the log; one cut short by a kill is left out."""
        found = []
        for line in self.log.read_text(encoding="utf-8").splitlines() if self.log.is_file() else ():
            try:
                found.append(json.loads(line))
            except json.JSONDecodeError:
                continue
        return found

    def rewind(self, total: int) -> None:
        """Drop what was logged after a step that is gone back to. Raises `FileError`."""
        kept = [json.dumps(e) + "\n" for e in self.events() if e.get("step", 0) <= total]
        write_bytes(self.log, "".join(kept).encode())

    def finished(self) -> dict[str, Any] | None:
        """The result, if the training is over."""
        try:
            content: dict[str, Any] = json.loads(self.result.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return content if self.weights.is_file() else None

    def finish(self, facts: Mapping[str, Any]) -> None:
        """Write the result: the training is over. Raises `FileError`."""
        write_bytes(self.result, (json.dumps(dict(facts), indent=2) + "\n").encode())


@contextmanager
def working_in(path: str | os.PathLike[str]) -> Iterator[TrainFolder]:
    """Open a folder to work in it, alone. Raises `FileError` where another process does."""
    with alone_in(path, "training"):
        yield TrainFolder(path)
