"""A learned ISP whose nets ONNX Runtime computes: the file of `ispkit export`, checked against its weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ispkit.core.errors import FileError, MissingExtraError, ParamError
from ispkit.core.frame import Domain, Frame
from ispkit.core.param import Values
from ispkit.core.space import ParamSpace
from ispkit.isp.learned.learned_isp import WHOLE_PIXELS, LearnedISP
from ispkit.isp.learned.onnx_export import Graph, graph_of
from ispkit.isp.proxy import padded

_KEY = "ispkit"
_FAR = {"float32": 1e-3, "fp16": 0.05, "int8": 0.25}
"""largest root mean square difference from torch by precision; other weights differ by more"""


class OnnxISP:
    """An ISP: levels, phase and placing by the learned ISP's adapters, everything between by ONNX Runtime.

    Frames that the graph does not take (too small) and those too large to be run whole go through torch, in tiles.
    Raises `FileError` where the file is not an export of these weights, `ParamError` for a part of an ISP,
    `MissingExtraError` without onnxruntime.
    """

    def __init__(self, isp: LearnedISP, path: str | Path, *, threads: int = 0) -> None:
        self.isp, self.space = isp, ParamSpace({})
        self._graph = graph_of(isp)
        self._session = _session(Path(path), threads)
        self._input = self._session.get_inputs()[0].name
        facts = _facts(Path(path), self._session)
        if tuple(facts["parts"]) != tuple(isp.named_parts):
            law = f"the ISP has {', '.join(isp.named_parts)}"
            raise ParamError(f"{path}: holds the parts {', '.join(facts['parts'])}, {law}; export it without --part")
        self._least = int(facts["least"])
        self._check(path, facts)

    @property
    def reads(self) -> Domain:
        """As the learned ISP."""
        return self.isp.reads

    @property
    def writes(self) -> Domain:
        """As the learned ISP."""
        return self.isp.writes

    @torch.no_grad()
    def __call__(self, frame: Frame, values: Values | None = None) -> Frame:
        """Render a batch, one frame after the other: exports take one at a time. Raises as `LearnedISP`."""
        self.space.check(values or {})
        parts = list(self.isp.entered_at(frame).values())
        first, last = parts[0], parts[-1]
        if len(parts) < len(self._graph.chain) or frame.size[0] * frame.size[1] > WHOLE_PIXELS:
            return self.isp(frame)  # type: ignore[no-any-return]
        gathered = padded((first.adapter.gather(frame), (0, 0)), self._graph.multiple)[0].float()
        if min(gathered.shape[-2:]) < self._least:
            return self.isp(frame)  # type: ignore[no-any-return]
        made = torch.cat([self._run(x) for x in torch.split(gathered, 1)])
        placed = first.adapter.place(made, frame)  # it knows where the mosaic's phase has moved the picture
        return placed.with_data(placed.data, last.writes)

    def _run(self, x: Tensor) -> Tensor:
        return torch.from_numpy(self._session.run(None, {self._input: x.contiguous().numpy()})[0])

    @torch.no_grad()
    def _check(self, path: str | Path, facts: Mapping[str, Any]) -> None:
        """That file and weights belong together, by one picture."""
        graph: Graph = self._graph
        if facts["channels"] != graph.chain[0].adapter.channels or facts["multiple"] != graph.multiple:
            raise FileError(f"{path}: reads {facts['channels']} channels, the weights are of another net; export again")
        side = -(-max(self._least, 64) // graph.multiple) * graph.multiple
        chance = torch.Generator().manual_seed(0)
        coarse = torch.rand(1, int(facts["channels"]), 8, 8, generator=chance)
        x = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bilinear")
        gap = float((self._run(x) - graph(x)).square().mean().sqrt())
        if not gap <= _FAR[str(facts["precision"])]:
            raise FileError(f"{path}: differs from the weights by {gap:.3g} (root mean square); export them again")


def _session(path: Path, threads: int) -> Any:
    if not path.is_file():
        raise FileError(f"{path}: no such file; `ispkit export WEIGHTS -o FILE.onnx` writes one")
    try:
        import onnxruntime  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError:
        raise MissingExtraError("an .onnx file needs the package onnxruntime; pip install 'ispkit[onnx]'") from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(str(path), sess_options=options, providers=["CPUExecutionProvider"])
    except Exception as error:  # of classes that onnxruntime keeps to itself
        raise FileError(f"{path}: not an ONNX file that runs ({' '.join(str(error).split())[:160]})") from error


def _facts(path: Path, session: Any) -> Mapping[str, Any]:
    """What `ispkit export` wrote of the file. Raises `FileError`."""
    try:
        facts: Mapping[str, Any] = json.loads(session.get_modelmeta().custom_metadata_map[_KEY])
        known = all(key in facts for key in ("parts", "channels", "multiple", "least")) and facts["precision"] in _FAR
    except (KeyError, ValueError, TypeError):
        known = False
    if not known:
        raise FileError(f"{path}: an ONNX file that `ispkit export` did not write; only those say what they read")
    return facts
