"""What every test shares: one thread for tiny tensors, small frames, and where the real files are."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest
import torch

from ispkit.cli import main
from ispkit.core.frame import Domain, Frame
from ispkit.core.meta import CameraMeta

torch.set_num_threads(1)

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data beside the checkout; tests that need it skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("needs the real files of ../shared/data, which are not here")
    return SHARED


@pytest.fixture
def cli(monkeypatch, capsys):
    """Run `ispkit ARGS` in this process; gives (exit code, stdout, stderr)."""

    def run(*args) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["ispkit", *map(str, args)])
        monkeypatch.setenv("COLUMNS", "200")
        code: object = 0
        try:
            main.run()
        except SystemExit as stop:
            code = stop.code
        captured = capsys.readouterr()
        return int(code or 0), captured.out, captured.err

    return run


@pytest.fixture
def ctrl_c():
    """Let Ctrl-C reach this process and those it starts: a shell's background jobs are born deaf to it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def make_frame(domain: Domain, size=(16, 24), batch=2, cfa="RGGB", seed=0, **facts) -> Frame:
    """A smooth random frame with a plausible camera behind it."""
    g = torch.Generator().manual_seed(seed)
    coarse = torch.rand(batch, domain.channels, 6, 8, generator=g)
    data = torch.nn.functional.interpolate(coarse, size=size, mode="bicubic").clamp(0.02, 0.95)
    known = {"neutral": (0.5, 1.0, 0.7), "noise_profile": [(2e-3, 1e-5)], "iso": 800.0}
    if domain is Domain.RAW:
        data = data * (1023 - 64) + 64
        known |= {"black_level": 64.0, "white_level": 1023.0}
    meta = CameraMeta.make(cfa, size, **(known | facts))
    return Frame(data, domain, meta.select([0] * batch))
