"""`ispkit serve`: one command starts it, wrong input ends with one line, signals end it when all is answered."""

from __future__ import annotations

import concurrent.futures
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

from serve_stand_ins import DUMP, dump, post, speak

from ispkit.cli.serve import opened
from ispkit.core.errors import ParamError
from ispkit.isp.learned.catalog import build
from ispkit.isp.learned.learned_isp import LearnedISP
from ispkit.isp.learned.weights import Card, save_learned
from ispkit.perceive.heads import open_head
from ispkit.perceive.joint import JointModel
from ispkit.serve.client import Client

HERE = Path(__file__).parent


@pytest.fixture
def command(cli, monkeypatch):
    """`ispkit serve ARGS` in this process."""
    monkeypatch.chdir(HERE)
    return lambda *args: cli("serve", *args)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "nothing to serve; give --isp, --head, or both"),
        (["--head", "mobilenet-v1"], "fresh weights"),
        (["--isp", "neutral", "--weights", "w.pth"], "are those of --head"),
        (["--isp", "neutral", "--most-mb", "nan"], "--most-mb"),
        (["--isp", "neutral", "--most-pixels", "inf"], "--most-pixels"),
        (["--isp", "nothing"], "no ISP 'nothing'"),
        (["--isp", "neutral", "--head", "nothing"], "no head 'nothing'"),
        (["--isp", "neutral", "--port", "70000"], "port=70000 is outside"),
        (["--isp", "neutral", "--host", "203.0.113.9"], "cannot listen at 203.0.113.9:8000"),
        (["--isp", "neutral", "--cert", "a.pem"], "give both"),
        (["--isp", "neutral", "--cert", "test_command.py", "--key", "test_command.py"], "no certificate that fits"),
        (["--isp", "neutral", "--onnx", "a.onnx"], "--onnx needs --isp with the weights"),
        (["--isp", "neutral", "--device", "mars"], "--device 'mars' is not here"),
        (["--isp", "neutral", "--concurrency", "0"], "concurrency=0 must be at least 1"),
        (["--isp", "neutral", "--sensor", "eye"], "no sensor 'eye'"),
        (["--isp", "neutral", "--colors", "blue"], "colors='blue'"),
    ],
)
def test_wrong_input_ends_with_one_line(command, args, message):
    code, out, err = command(*args)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
    assert "Traceback" not in out + err


def test_help_shows_how(command):
    code, out, _ = command("--help")
    assert code == 0
    assert "curl --data-binary @IMG_0001.dng" in out


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_when_what_has_begun_is_answered(number):
    options = ["serve", "--isp", "serve_stand_ins:Napping", "--port", "0", "--batch", "1", "--wait-ms", "0"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [HERE, HERE.parent]))}
    with subprocess.Popen(
        [sys.executable, "-m", "ispkit", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=HERE,
        env=environment,
    ) as server:
        url = server.stdout.readline().split()[2]
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            flying = [pool.submit(speak, url, post(dump(), DUMP)) for _ in range(3)]
            with Client(url) as client:
                while client.health()["in_progress"] < 3:
                    time.sleep(0.01)
            server.send_signal(number)
            heard = [f.result() for f in flying]
        out, err = server.communicate(timeout=30)
    assert [h.split()[1] for h in heard] == [b"200"] * 3
    assert all(b"\xff\xd8\xff" in h for h in heard)
    assert (server.returncode, err) == (0, "")
    assert "ended; 3 requests answered, 0 of them refused" in out


def test_weights_of_an_isp_with_its_head_serve_both(tmp_path):
    torch.manual_seed(0)
    head = open_head("mobilenet-v1", width=0.25, names=["cat", "dog"], size=32)
    card = Card("anscombe", {"preset": "released"}, head=dict(head.spec))
    save_learned(tmp_path / "joint.safetensors", JointModel(build("anscombe", preset="released"), head), card)
    engine = opened(str(tmp_path / "joint.safetensors"), None, onnx=None, device="cpu", batch=2, threads=0)
    assert isinstance(engine.isp, LearnedISP)
    assert engine.head.names == ("cat", "dog")
    with pytest.raises(ParamError, match="--onnx does not go"):
        opened(str(tmp_path / "joint.safetensors"), None, onnx=tmp_path / "x", device="cpu", batch=2, threads=0)
