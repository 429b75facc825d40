"""The folder of one study: who works in it, what happened in it, and where its files are."""

from __future__ import annotations

import json
import math
import os
import platform
import secrets
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
from ispkit.tune.artifacts import ArtifactStore

_LIBRARIES = ("ispkit", "optuna", "cmaes", "torch", "numpy", "scipy")


class RunFolder:
    """Paths and the log of a study; `working_in` is the door for who writes, the constructor for who reads."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.store = ArtifactStore(self.path)
        self.database = self.path / "study.db"
        self.storage = self.path / "storage.json"
        """where the trials are, if not in the folder's own database"""
        self.spec = self.path / "study.yaml"
        self.environment = self.path / "env.json"
        self.log = self.path / "log.jsonl"
        self.result = self.path / "result.json"
        self.sensitivity = self.path / "sensitivity.json"

    @property
    def id(self) -> str:
        """A random name that stays with the folder."""
        return str(read_json(self.environment)["folder"])

    def describe(self, spec: Mapping[str, Any]) -> None:
        """Write env.json once and study.yaml at every start. Raises `FileError`."""
        if not self.environment.is_file():
            facts = {
                "folder": secrets.token_hex(8),
                "made": _now(),
                "python": sys.version.split()[0],
                "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
                "libraries": {name: version(name) for name in _LIBRARIES},
            }
            write_json(self.environment, facts)
        plain = json.loads(json.dumps(spec, default=_plain))
        write_bytes(self.spec, yaml.safe_dump(plain, sort_keys=False, allow_unicode=True).encode())

    def note(self, event: str, **facts: Any) -> None:
        """Append one event to log.jsonl; after the call it survives the process. Raises `FileError`."""
        line = json.dumps({"time": _now(), "event": event, **facts}, default=_plain) + "\n"
        try:
            with self.log.open("a+b") as file:
                if file.tell() and not _ends_a_line(self.log):
                    line = "\n" + line  # an earlier process was killed in the middle of its line
                file.write(line.encode())
        except OSError as error:
            raise FileError(f"cannot write {self.log}: {error.strerror}") from error

    def events(self, *names: str) -> list[dict[str, Any]]:
        """The events with one of these names (all without one); lines cut short by a kill are left out."""
        if not self.log.is_file():
            return []
        found = []
        for line in self.log.read_text(encoding="utf-8").splitlines():
            try:
                event = json.loads(line)
            except json.JSONDecodeError:
                continue
            if not names or event.get("event") in names:
                found.append(event)
        return found

    def worked_s(self) -> float:
        """Wall seconds of all sittings, each from its beginning to its last event.

        What the next sitting finds unfinished is noted before it begins: no part of the sitting that was killed.
        """
        sittings: list[tuple[datetime, datetime]] = []
        probing = None  # the process that does, or did until now: its search belongs to the same sitting
        for event in self.events():
            if event["event"] == "interrupted":
                continue
            now, name, pid = datetime.fromisoformat(event["time"]), event["event"], event.get("pid")
            if not sittings or name == "probing" or (name == "started" and (probing is None or pid != probing)):
                sittings.append((now, now))
            probing = pid if name == "probing" else probing if name == "probed" else None
            sittings[-1] = (sittings[-1][0], now)
        return sum((last - first).total_seconds() for first, last in sittings)


@contextmanager
def working_in(path: str | os.PathLike[str]) -> Iterator[RunFolder]:
    """Open a folder to work in it, alone. Raises `FileError` where another process does."""
    with alone_in(path, "study"):
        yield RunFolder(path)


def write_json(path: Path, facts: Any) -> None:
    """Plain data as a file, whole or not at all; NaN and infinity become null. Raises `FileError`."""
    write_bytes(path, (json.dumps(_finite(facts), indent=2, default=_plain) + "\n").encode())


def read_json(path: Path) -> Any:
    """Raises `FileError` if there is no such file or it is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror}); is this the folder of a study?") from error
    except ValueError as error:
        raise FileError(f"{path}: not JSON ({error})") from error


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    return str(value)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
