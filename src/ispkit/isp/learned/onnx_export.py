"""Learned ISPs as ONNX: one file with the nets and the tensor maths of their adapters, for pictures of any size.

What stays outside is what the file of a camera says: levels, phase of the mosaic, exposure, noise map. The graph reads
what `Part.adapter.gather` gives, continued to a multiple, and gives the picture; the file's metadata says which. A
chain keeps between its parts what was continued past the frame, where `LearnedISP` cuts it off and continues anew: the
two agree for frames whose sides are multiples, and nearly for others.
"""

from __future__ import annotations

import json
import logging
import math
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from ispkit.core.errors import FileError, MissingExtraError, ParamError, nearest
from ispkit.core.frame import Domain, Frame
from ispkit.io.atomic import write_bytes
from ispkit.isp.learned.learned_isp import LearnedISP
from ispkit.isp.learned.part import Part
from ispkit.isp.proxy import padded

Precision = Literal["float32", "fp16", "int8"]
LIMIT = 1e-4
"""largest difference from torch, as a share of the largest value (at least 1), with which a file is written"""
_ROUNDING = 10.0
"""or this many times what torch's own float32 differs from float64, where a net amplifies its rounding"""
_WORST_DB = 20.0
"""below this a file of reduced precision is of no use"""
_KEY = "ispkit"


@dataclass(frozen=True)
class Exported:
    """What was written, and how near it is to torch."""

    parts: tuple[str, ...]
    reads: str
    """what the input holds"""
    writes: str
    channels: int
    multiple: int
    """what the sides of the input must be multiples of"""
    least: int
    """shortest side of the input, px"""
    precision: Precision
    difference: float
    """largest difference of the float32 graph from torch, at sizes that the export did not see"""
    psnr_db: float | None
    """of the reduced precision against float32; None for float32"""
    megabytes: float


class Graph(nn.Module):
    """The tensor maths of some parts in a row: (B, C, h, w) as `gather` gives it -> (B, 3, H, W)."""

    def __init__(self, parts: Mapping[str, Part]) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(parts)
        self.chain = [cast(Part, part) for part in self.parts.values()]
        self.display = self.chain[-1].writes is Domain.DISPLAY_RGB

    def forward(self, x: Tensor) -> Tensor:
        """The picture, DISPLAY_RGB clipped to [0, 1]."""
        for part in self.chain:
            x = part.adapter.leave(part.net(part.adapter.enter(x)))
        return x.clamp(0.0, 1.0) if self.display else x

    @property
    def multiple(self) -> int:
        """What the sides of the input must be multiples of, so that every net finds its own multiple."""
        needed, scale = 1, 1
        for part in self.chain:
            own = part.net.multiple
            needed = math.lcm(needed, own // math.gcd(own, scale))
            scale *= part.net.scale
        return needed


def graph_of(isp: LearnedISP, part: str | None = None) -> Graph:
    """All parts, or one of them by name, in evaluation mode on the CPU. Raises `ParamError`."""
    parts = isp.named_parts
    if part is not None and part not in parts:
        raise ParamError(f"no part {part!r}; {nearest(part, parts)}")
    isp.to("cpu").eval().requires_grad_(False)
    return Graph(parts if part is None else {part: parts[part]})


@torch.no_grad()
def inputs_of(isp: LearnedISP, frame: Frame, part: str | None = None) -> Tensor:
    """What the graph reads of a frame: for a later part, what the parts before it make of the frame."""
    graph = graph_of(isp, part)
    for name, step in isp.entered_at(frame).items():
        if part is None or name == part:
            break
        frame = step(frame)
    return padded((graph.chain[0].adapter.gather(frame), (0, 0)), graph.multiple)[0].float()


@torch.no_grad()
def export_onnx(
    path: str | Path,
    isp: LearnedISP,
    *,
    part: str | None = None,
    precision: Precision = "float32",
    calibration: Sequence[Tensor] = (),
) -> Exported:
    """Write the graph, checked against torch in onnxruntime; float32 parity always, then the reduced precision.

    `calibration` are inputs as `inputs_of` gives them, which int8 needs and by which fp16 is judged as well. Raises
    `FileError` if the exported graph differs from torch by more than `LIMIT` or is useless in its precision (nothing is
    written then), `ParamError`, `MissingExtraError` without onnx, onnxscript and onnxruntime.
    """
    if precision == "int8" and not calibration:
        raise ParamError("int8 needs calibration pictures; give --calibrate FOLDER of RAW files")
    _check_packages()
    graph = graph_of(isp, part)
    model, least = _traced(graph)
    for x in calibration:
        if min(x.shape[-2:]) < least:
            raise ParamError(f"a calibration picture gives an input of {tuple(x.shape)}; sides must be {least} or more")
    difference = _parity(path, model, graph, least)
    made, psnr_db = model, None
    if precision != "float32":
        seen = list(calibration) or [_noise(graph, least, seed) for seed in range(2)]
        made = _half(model) if precision == "fp16" else _quantized(model, seen)
        psnr_db = _psnr(path, made, model, seen)
    first = graph.chain[0].adapter
    facts = Exported(
        parts=tuple(graph.parts),
        reads=first.gathers,
        writes=graph.chain[-1].writes.value,
        channels=first.channels,
        multiple=graph.multiple,
        least=least,
        precision=precision,
        difference=difference,
        psnr_db=psnr_db,
        megabytes=0.0,
    )
    content = _with_facts(made, facts)
    write_bytes(path, content)
    return replace(facts, megabytes=len(content) / 1e6)


def _check_packages() -> None:
    try:
        import onnx  # type: ignore[import-not-found, unused-ignore]  # noqa: F401
        import onnxruntime  # type: ignore[import-not-found, import-untyped, unused-ignore]  # noqa: F401
        import onnxscript  # type: ignore[import-not-found, unused-ignore]  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(f"ONNX needs the package {error.name}; pip install 'ispkit[onnx]'") from None


def _traced(graph: Graph) -> tuple[Any, int]:
    """The ONNX model with free height and width, and the shortest side that it takes."""
    from torch.export import Dim

    multiple = graph.multiple
    # long enough that no reflection exceeds a side at the nets' lowest levels, whose branch would then be exported
    sides = [max(-(-128 // multiple), 18) * multiple + i * 2 * multiple for i in range(2)]
    example = torch.rand(1, graph.chain[0].adapter.channels, *sides, generator=torch.Generator().manual_seed(0))
    static, free = Dim.STATIC, Dim.DYNAMIC
    with _quiet():
        program: Any = torch.onnx.export(
            graph,
            (example,),
            dynamo=True,
            verbose=False,
            input_names=["x"],
            output_names=["picture"],
            dynamic_shapes=({0: static, 1: static, 2: free, 3: free},),
        )
    limits = program.exported_program.range_constraints.values()
    return program.model_proto, max([multiple, *(int(limit.lower) * _factor(limit, multiple) for limit in limits)])


def _factor(limit: Any, multiple: int) -> int:
    """A constraint counts sides, or multiples of them where the exporter found the law itself."""
    return 1 if int(limit.lower) % multiple == 0 else multiple


def _parity(path: str | Path, model: Any, graph: Graph, least: int) -> float:
    """The largest difference from torch at two sizes of other aspects than the example's."""
    run, exact, worst = _session(model), deepcopy(graph).double(), 0.0
    multiple = graph.multiple
    short = -(-max(least, 64) // multiple) * multiple
    for height, width in ((short, short + 3 * multiple), (short + 4 * multiple, short + multiple)):
        x = _noise(graph, 0, height, (height, width))
        want = graph(x)
        got = run(x)
        gap = float((got - want).abs().max()) if got.shape == want.shape else math.inf
        own = float((exact(x.double()) - want).abs().max())
        if not gap <= max(LIMIT * max(1.0, float(want.abs().max())), _ROUNDING * own):
            raise FileError(
                f"{path}: not written: the exported graph differs from torch by {gap:.3g} at {height}x{width}"
            )
        worst = max(worst, gap)
    return worst


def _noise(graph: Graph, least: int, seed: int, size: tuple[int, int] | None = None) -> Tensor:
    """Smooth random input in [0, 1]."""
    side = -(-max(least, 64) // graph.multiple) * graph.multiple
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, graph.chain[0].adapter.channels, 8, 8, generator=generator)
    return nn.functional.interpolate(coarse, size=size or (side, side), mode="bilinear")


def _session(model: Any) -> Any:
    """A function that runs the model on the CPU: tensor in, tensor out."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), sess_options=options, providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name

    def run(x: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {name: x.contiguous().numpy()})[0])

    return run


def _half(model: Any) -> Any:
    """Weights and sums in fp16, float32 at the doors."""
    from onnxruntime.transformers.float16 import convert_float_to_float16  # type: ignore[import-not-found, import-untyped, unused-ignore]

    with _quiet():
        return convert_float_to_float16(model, keep_io_types=True)


def _quantized(model: Any, seen: Sequence[Tensor]) -> Any:
    """Convolutions in int8, weights a channel, scales of activations from the calibration pictures."""
    import onnx
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            self.left = iter([{"x": x.contiguous().numpy()} for x in seen])

        def get_next(self) -> Any:
            return next(self.left, None)

    with tempfile.TemporaryDirectory() as room, _quiet():
        source, target = Path(room) / "float.onnx", Path(room) / "int8.onnx"
        onnx.save(model, str(source))
        quantization.quantize_static(
            str(source),
            str(target),
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            op_types_to_quantize=["Conv"],
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
        return onnx.load(str(target))


def _psnr(path: str | Path, made: Any, model: Any, seen: Sequence[Tensor]) -> float:
    """Of the reduced model against the float32 one, over all inputs, for a peak of 1."""
    run, reference = _session(made), _session(model)
    errors = [float((run(x).double() - reference(x).double()).square().mean()) for x in seen]
    error = sum(errors) / len(errors)
    value = math.inf if error == 0 else -10 * math.log10(error) if math.isfinite(error) else -math.inf
    if value < _WORST_DB:
        raise FileError(f"{path}: not written: in this precision the picture is {value:.1f} dB from float32")
    return value


def _with_facts(model: Any, facts: Exported) -> bytes:
    entry = model.metadata_props.add()
    entry.key = _KEY
    told = {k: v for k, v in asdict(facts).items() if k != "megabytes"}
    entry.value = json.dumps(told)
    content: bytes = model.SerializeToString()
    return content


@contextmanager
def _quiet() -> Iterator[None]:
    """Exporters talk of themselves on stderr and by warnings; errors still come as exceptions."""
    names = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir", "root")
    loggers = [logging.getLogger(None if n == "root" else n) for n in names]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
