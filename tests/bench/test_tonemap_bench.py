"""Experiment (c) at toy size: it runs, writes what it claims, and is honest about what it missed."""

import json

import pytest

from ispkit.bench import tonemap
from ispkit.bench.tonemap import TonemapBench, run_tonemap
from ispkit.core.errors import FileError, ParamError
from ispkit.tune.proxy.config import DescendConfig, ProxyConfig, TrainConfig

TOY = TonemapBench(
    side=32,
    shrink=2,
    renders=8,
    hidden=1,
    anchored=1,
    proxy=ProxyConfig(
        channels=(4, 6),
        train=TrainConfig(steps=3, batch=2, patch=32),
        descend=DescendConfig(starts=1, iterations=2),
    ),
)


def test_the_experiment_is_written_whole(tmp_path, monkeypatch):
    monkeypatch.setitem(tonemap.SIZES, "toy", TOY)
    monkeypatch.setattr(tonemap, "PICTURES", 2)
    said = []
    made = run_tonemap(tmp_path, preset="toy", say=said.append)
    facts = json.loads((tmp_path / "tonemap.json").read_text())
    plain, anchored = facts["details"]["attempts"]
    assert [c.met for c in made.claims] == [a["real_db"] > 44.31 for a in (plain, plain, anchored, anchored)]
    assert anchored["real_db"] >= plain["real_db"]
    assert set(plain["errors"]) == {f"local_laplacian.{k}" for k in ("alpha", "beta", "sigma")}
    assert "project's own" in (tmp_path / "tonemap.md").read_text()
    assert len(list((tmp_path / "tonemap-renders" / "toy-0").glob("*.npy"))) == 8


def test_misuse_is_named(tmp_path):
    with pytest.raises(ParamError, match="small"):
        run_tonemap(tmp_path, preset="smal")
    with pytest.raises(FileError, match="19"):
        run_tonemap(tmp_path, pictures=[tmp_path])
