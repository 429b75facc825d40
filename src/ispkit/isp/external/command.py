"""`CommandISP`: any program that reads a file and writes a picture, behind the contract of an ISP."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shlex
import shutil
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from torch import Tensor

from ispkit.core.errors import BlackBoxError, FileError, RecipeError, nearest
from ispkit.core.frame import Frame
from ispkit.core.param import Values
from ispkit.io.atomic import write_bytes
from ispkit.io.binary import read_bytes
from ispkit.isp.external.base import BlackBox, Plain, acting, plain_rows
from ispkit.isp.external.files import Rooms, even_margin, frame_digest, read_output
from ispkit.isp.external.knobs import Written, as_text
from ispkit.isp.external.parameter_file import fill, flag_words
from ispkit.isp.external.process import run_program
from ispkit.isp.external.spec import BlackBoxSpec, load_spec
from ispkit.isp.external.start import awake

_PLACE = re.compile(r"\{([\w.\-]+)\}")
_OWN = ("raw", "out", "params", "flags", "worker", "here", "width", "height", "cfa", "black", "white")


class SpecISP(BlackBox):
    """A black box that a spec describes: its space, its parameter file, its cache of renders.

    Args:
        spec: a `BlackBoxSpec`, a preset's name or a YAML file.
        cache: a folder that keeps finished pictures, by a hash of frame, values as written, spec and
            the program's version; None keeps none.
        workers: renders at a time; the spec's own number if None.
    """

    def __init__(
        self, spec: BlackBoxSpec | str | Path, *, cache: Path | None = None, workers: int | None = None
    ) -> None:
        self.spec = spec if isinstance(spec, BlackBoxSpec) else load_spec(spec)
        self.cache = cache
        self.workers = workers or self.spec.workers
        self.space = self.spec.space
        self.reads, self.writes = self.spec.input.reads, self.spec.writes
        self._rooms = Rooms()
        kind, template = self.spec.params.format, self.spec.params.template
        may_sleep = {n: k for n, k in self.spec.knobs.items() if k.off_at is not None}
        self._asleep = {n for n, k in may_sleep.items() if not awake(k, kind, template)}

    def started_from(self, text: str) -> SpecISP:
        """The same black box that starts from a user's parameter file: template and defaults are its own."""
        return type(self)(self.spec.started_from(text), cache=self.cache, workers=self.workers)

    def parameters(self, values: Values | None = None) -> str:
        """The parameter file of one setting, as a user of the program wants it. Raises `ParamError`."""
        (row,) = plain_rows(self.space, values or {}, 1)
        return fill(self.spec.params.format, self.spec.params.template, self.written(row))

    def written(self, values: Plain) -> dict[str, Written]:
        """What is written under each key: acting knobs, the keys that wake them, the others' defaults.

        A knob at its off value leaves a template that does not use it as it is.
        """
        active = acting(self.space, values)
        written: dict[str, Written] = {}
        woken: dict[str, Written] = {}
        for name, knob in self.spec.knobs.items():
            if name in active:
                value = knob.write(values[name])
                if knob.is_off(value) and name in self._asleep:
                    continue
                written[knob.key] = value
                if not knob.is_off(value):
                    woken.update(knob.enable)
            elif self.spec.params.inactive == "default" and name not in self._asleep:
                written[knob.key] = knob.write(self.space[name].default)
        return written | woken

    def render_one(self, frame: Frame, values: Plain) -> Tensor:
        """One frame, from the cache or from the program; tried again as often as the spec says."""
        written = self.written(values)
        digest = frame_digest(frame)
        kept = self._kept(digest, written)
        if kept is not None and kept.is_file():
            try:
                return self._read(kept, frame)
            except BlackBoxError:
                kept.unlink(missing_ok=True)  # damaged: made again
        for _ in range(self.spec.retries):
            with contextlib.suppress(BlackBoxError):
                return self._rendered(frame, digest, written, kept)
        return self._rendered(frame, digest, written, kept)

    def _rendered(self, frame: Frame, digest: str, written: Mapping[str, Written], kept: Path | None) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} renders nothing")

    def _read(self, source: Path | bytes, frame: Frame) -> Tensor:
        return read_output(source, frame.size, self.spec.input, self.spec.output)

    def _keep(self, kept: Path | None, content: bytes) -> None:
        if kept is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(kept, content)

    def _kept(self, digest: str, written: Mapping[str, Written]) -> Path | None:
        if self.cache is None:
            return None
        words = json.dumps([self.spec.digest(), self.version, digest, {k: as_text(v) for k, v in written.items()}])
        key = hashlib.sha256(words.encode()).hexdigest()
        return self.cache / key[:2] / f"{key}{self.spec.output.suffix}"

    @cached_property
    def version(self) -> str:
        """What the program says of its version; empty where the spec does not tell how to ask."""
        if not self.spec.program_version:
            return ""
        words = shlex.split(self.spec.program_version)
        return run_program(words, environment={}, timeout_s=self.spec.timeout_s, any_code=True)


class CommandISP(SpecISP):
    """A program of the command line. Raises `BlackBoxError` with command, reason and its last words.

    >>> isp = CommandISP("rawtherapee")
    >>> isp.space["exposure.compensation"].default
    0.0
    """

    def __init__(
        self, spec: BlackBoxSpec | str | Path, *, cache: Path | None = None, workers: int | None = None
    ) -> None:
        super().__init__(spec, cache=cache, workers=workers)
        if not self.spec.command:
            raise RecipeError(f"{self.spec.name}: the spec has a 'url'; it is for HttpISP")
        self._words = shlex.split(self.spec.command)
        named = [name for word in self._words for name in _PLACE.findall(word)]
        for name in named:
            if name not in _OWN and name not in self.space:
                known = [*_OWN, *self.space]
                raise RecipeError(f"{self.spec.name}: the command has no {{{name}}} to fill; {nearest(name, known)}")
        for name in ("raw", "out"):
            if name not in named:
                raise RecipeError(f"{self.spec.name}: the command does not say {{{name}}}")

    def check(self) -> None:
        """Raise `BlackBoxError` if the program is not there."""
        program = self._words[0].replace("{here}", self.spec.folder)
        if shutil.which(program) is None:
            raise BlackBoxError(f"{self.spec.name}: the program {program!r} is not installed or not in PATH")

    def command_line(self, values: Values | None = None) -> list[str]:
        """The words of one render, with file names in braces where they differ from run to run."""
        (row,) = plain_rows(self.space, values or {}, 1)
        return self._filled(self.written(row), {n: f"{{{n}}}" for n in _OWN})

    def _rendered(self, frame: Frame, digest: str, written: Mapping[str, Written], kept: Path | None) -> Tensor:
        source = self._rooms.input(frame, self.spec.input, digest)
        with self._rooms.worker(self.spec.worker_files) as room:
            out, params = room / f"out{self.spec.output.suffix}", room / f"params{self.spec.params.suffix}"
            for old in (out, params):
                old.unlink(missing_ok=True)
            places = {"raw": source, "out": out, "params": params, "worker": room, "here": self.spec.folder}
            words = self._filled(
                written, {k: str(v) for k, v in (places | _facts(frame, even_margin(self.spec.input.crop_px))).items()}
            )
            if self.spec.params.format != "flags":
                everything = {**written, **self.spec.params.force}
                params.write_text(fill(self.spec.params.format, self.spec.params.template, everything), "utf-8")
            said = run_program(words, environment=self._environment(room), timeout_s=self.spec.timeout_s)
            picture = self._checked(out, frame, shlex.join(words), said)
            if kept is not None:
                self._keep(kept, read_bytes(out))
            return picture

    def _checked(self, out: Path, frame: Frame, command: str, said: str) -> Tensor:
        words = f"; it said: {said}" if said else ""
        if not out.is_file() or out.stat().st_size == 0:
            raise BlackBoxError(f"{command} wrote no picture {out.name}{words}")
        try:
            return self._read(out, frame)
        except (BlackBoxError, FileError) as error:
            raise BlackBoxError(f"{command}: {error}{words}") from error

    def _environment(self, room: Path) -> dict[str, str]:
        return {k: v.replace("{worker}", str(room)) for k, v in self.spec.environment.items()}

    def _filled(self, written: Mapping[str, Written], places: Mapping[str, str]) -> list[str]:
        by_knob = {n: as_text(written[k.key]) for n, k in self.spec.knobs.items() if k.key in written}
        known = {**by_knob, **places}
        words: list[str] = []
        for word in self._words:
            if word == "{flags}":
                words += flag_words({**written, **self.spec.params.force})
            else:
                words.append(_PLACE.sub(lambda match: known.get(match[1], ""), word))
        return words


def _facts(frame: Frame, margin: int) -> dict[str, object]:
    """What a headerless input file does not say of itself."""
    height, width = (n + 2 * margin for n in frame.size)
    black, white = float(frame.meta.black_level.mean()), float(frame.meta.white_level.mean())
    return {"width": width, "height": height, "cfa": frame.meta.cfa, "black": f"{black:g}", "white": f"{white:g}"}
