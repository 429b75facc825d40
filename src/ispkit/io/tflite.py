"""TensorFlow Lite files in: their tensors, with quantization, and what is done with them. Nothing is run.

Format: tensorflow/lite/schema/schema.fbs (a flatbuffer, "TFL3"), parsed with the package `tflite`. Quantization:
Jacob et al. 2018, "Quantization and Training of Neural Networks", CVPR: real value = scale x (stored - zero point).
"""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ispkit.core.errors import FileError, MissingExtraError
from ispkit.io.binary import Source, name_of, read_bytes

_IDENTIFIER = b"TFL3"
_MAX_BYTES = 1 << 30
_TYPES = {
    "FLOAT32": np.float32, "FLOAT16": np.float16, "INT32": np.int32, "UINT8": np.uint8, "INT64": np.int64,
    "INT16": np.int16, "INT8": np.int8, "BOOL": np.bool_,
}  # fmt: skip
_OPTIONS = {
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "ADD": "AddOptions",
    "RESIZE_BILINEAR": "ResizeBilinearOptions",
}
_TORCH_ORDER = {"CONV_2D": (0, 3, 1, 2), "DEPTHWISE_CONV_2D": (3, 0, 1, 2), "FULLY_CONNECTED": (0, 1)}
"""the operators that have a weight and a bias, and where torch's axes of the weight stand"""


@dataclass(frozen=True, eq=False)
class TfliteTensor:
    """One tensor; what the network computes has no `array`."""

    name: str
    shape: tuple[int, ...]
    array: NDArray[Any] | None
    """as stored"""
    scale: NDArray[np.float32]
    """one value, or one an index of `axis`; empty: not quantized"""
    zero_point: NDArray[np.int64]
    axis: int = 0

    def real(self) -> NDArray[np.float32]:
        """The stored numbers as real ones, float32. Raises `FileError` for a tensor without content."""
        if self.array is None:
            raise FileError(f"tensor {self.name!r} has no content: the network computes it")
        if not self.scale.size:
            return self.array.astype(np.float32)
        along = [1] * len(self.shape)
        if self.scale.size > 1:
            along[self.axis] = -1
        # float64, so that the product is rounded once
        scale = self.scale.astype(np.float64).reshape(along)
        exact = (self.array.astype(np.float64) - self.zero_point.reshape(along)) * scale
        if np.abs(exact).max(initial=0) > np.finfo(np.float32).max:
            raise FileError(f"tensor {self.name!r}: its scale is damaged, values are beyond float32")
        return exact.astype(np.float32)


@dataclass(frozen=True)
class TfliteOperator:
    """One step of the network; tensors by their number, -1 for one that is left out."""

    kind: str
    """as the format calls it: CONV_2D, DEPTHWISE_CONV_2D, ..."""
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    strides: tuple[int, int] = (1, 1)
    """rows, columns"""
    dilation: tuple[int, int] = (1, 1)
    padding: str = ""
    """SAME or VALID, empty where the operator has none"""
    activation: str = "NONE"
    """RELU6, RELU, ... that follows in the same step"""
    align_corners: bool = False
    """of a resize"""


@dataclass(frozen=True)
class TfliteLayer:
    """An operator with weights, as real numbers in the order that torch has."""

    operator: TfliteOperator
    name: str
    weight: NDArray[np.float32]
    """of a convolution (O, I, h, w), of a depthwise one (O, 1, h, w), of a matrix (O, I)"""
    bias: NDArray[np.float32]
    """(O,)"""


@dataclass(frozen=True)
class TfliteModel:
    """The first graph of a file."""

    tensors: tuple[TfliteTensor, ...]
    operators: tuple[TfliteOperator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def layers(self) -> tuple[TfliteLayer, ...]:
        """The operators with weights, in their order, dequantized. Raises `FileError`."""
        return tuple(self._layer(op) for op in self.operators if op.kind in _TORCH_ORDER)

    def _layer(self, op: TfliteOperator) -> TfliteLayer:
        has_bias = len(op.inputs) > 2 and op.inputs[2] >= 0
        if len(op.inputs) < 2 or op.inputs[1] < 0:
            raise FileError(f"a step {op.kind} has no weight: damaged")
        kernel = self.tensors[op.inputs[1]]
        weight, order = kernel.real(), _TORCH_ORDER[op.kind]
        if weight.ndim != len(order):
            raise FileError(f"tensor {kernel.name!r} of shape {weight.shape} is no weight of a {op.kind}: damaged")
        weight = np.ascontiguousarray(weight.transpose(order))
        bias = self.tensors[op.inputs[2]].real() if has_bias else np.zeros(weight.shape[0], np.float32)
        if bias.shape != weight.shape[:1]:
            raise FileError(f"tensor {kernel.name!r}: a bias of shape {bias.shape} does not fit it: damaged")
        return TfliteLayer(op, kernel.name, weight, bias)


def read_tflite(source: Source) -> TfliteModel:
    """Read a .tflite file: its first graph.

    Raises `FileError` for a file that is none or is damaged, `MissingExtraError` without the package `tflite`.
    """
    package, name = _package(), name_of(source)
    data = read_bytes(source, _MAX_BYTES + 1)
    if len(data) > _MAX_BYTES or data[4:8] != _IDENTIFIER:
        raise FileError(f"{name}: not a TensorFlow Lite file, which has {_IDENTIFIER.decode()} at its fifth byte")
    try:
        return _model(package, data)
    except FileError as error:
        raise FileError(f"{name}: {error}") from error
    except Exception as error:  # the parser checks nothing: a damaged offset raises whatever it leads to
        raise FileError(f"{name}: a damaged TensorFlow Lite file ({type(error).__name__})") from error


def _package() -> Any:
    try:
        return importlib.import_module("tflite")
    except ModuleNotFoundError as error:
        raise MissingExtraError("reading .tflite needs the package tflite: pip install 'ispkit[heads]'") from error


def _model(package: Any, data: bytes) -> TfliteModel:
    model = package.Model.GetRootAsModel(data, 0)
    if model.SubgraphsLength() < 1:
        raise FileError("it has no graph")
    graph = model.Subgraphs(0)
    tensors = tuple(_tensor(package, model, graph.Tensors(i)) for i in range(graph.TensorsLength()))
    operators = tuple(_operator(package, model, graph.Operators(i)) for i in range(graph.OperatorsLength()))
    ends = _numbers(graph.InputsAsNumpy()), _numbers(graph.OutputsAsNumpy())
    used = [i for op in operators for i in (*op.inputs, *op.outputs)]
    if any(not -1 <= i < len(tensors) for i in (*used, *ends[0], *ends[1])):
        raise FileError("a step of its network names a tensor that it does not have: damaged")
    return TfliteModel(tensors, operators, *ends)


def _tensor(package: Any, model: Any, stored: Any) -> TfliteTensor:
    kinds = {v: k for k, v in vars(package.TensorType).items() if not k.startswith("_")}
    name = stored.Name().decode("utf-8", "replace")
    shape = _numbers(stored.ShapeAsNumpy())
    content = model.Buffers(stored.Buffer()).DataAsNumpy()
    array = None
    if not isinstance(content, int) and content.size:
        kind = kinds.get(stored.Type(), "")
        if kind not in _TYPES:
            raise FileError(f"tensor {name!r} is of type {kind or stored.Type()}, which is not read")
        array = _array(name, content.tobytes(), shape, np.dtype(_TYPES[kind]).newbyteorder("<"))
    quantized = stored.Quantization()
    scale = np.zeros(0, np.float32) if quantized is None else _vector(quantized.ScaleAsNumpy(), np.float32)
    zero = np.zeros(0, np.int64) if quantized is None else _vector(quantized.ZeroPointAsNumpy(), np.int64)
    zero = np.zeros(scale.size, np.int64) if not zero.size else zero
    axis = 0 if quantized is None else int(quantized.QuantizedDimension())
    _check_quantization(name, shape, scale, zero, axis)
    return TfliteTensor(name, shape, array, scale, zero, axis)


def _array(name: str, content: bytes, shape: tuple[int, ...], kind: np.dtype[Any]) -> NDArray[Any]:
    if min(shape, default=0) < 0 or math.prod(shape) * kind.itemsize != len(content):
        raise FileError(f"tensor {name!r} of shape {shape} has {len(content)} bytes: damaged")
    return np.frombuffer(content, kind).reshape(shape)


def _check_quantization(name: str, shape: tuple[int, ...], scale: NDArray[Any], zero: NDArray[Any], axis: int) -> None:
    fits = scale.size <= 1 or (0 <= axis < len(shape) and scale.size == shape[axis])
    if scale.size and (not fits or zero.size != scale.size or not np.isfinite(scale).all() or (scale < 0).any()):
        raise FileError(f"tensor {name!r}: its {scale.size} scales and {zero.size} zero points are damaged")


def _operator(package: Any, model: Any, stored: Any) -> TfliteOperator:
    code = model.OperatorCodes(stored.OpcodeIndex())
    # files before schema 3a have only the old field; the new one is then 0
    kind = package.opcode2name(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()))
    ends = _numbers(stored.InputsAsNumpy()), _numbers(stored.OutputsAsNumpy())
    table = stored.BuiltinOptions()
    if kind not in _OPTIONS or table is None:
        return TfliteOperator(kind, *ends)
    options = getattr(package, _OPTIONS[kind])()
    options.Init(table.Bytes, table.Pos)
    return TfliteOperator(
        kind,
        *ends,
        strides=_both(options, "StrideH", "StrideW"),
        dilation=_both(options, "DilationHFactor", "DilationWFactor"),
        padding=_word(package.Padding, options.Padding()) if hasattr(options, "Padding") else "",
        activation=_word(package.ActivationFunctionType, options.FusedActivationFunction())
        if hasattr(options, "FusedActivationFunction")
        else "NONE",
        align_corners=bool(options.AlignCorners()) if hasattr(options, "AlignCorners") else False,
    )


def _both(options: Any, rows: str, columns: str) -> tuple[int, int]:
    if not hasattr(options, rows):
        return 1, 1
    return int(getattr(options, rows)()), int(getattr(options, columns)())


def _word(kinds: Any, value: int) -> str:
    return str(next(name for name, number in vars(kinds).items() if number == value and not name.startswith("_")))


def _numbers(values: Any) -> tuple[int, ...]:
    """A vector of whole numbers; the parser gives 0 for one that is absent."""
    return () if isinstance(values, int) else tuple(int(v) for v in values)


def _vector(values: Any, kind: Any) -> NDArray[Any]:
    return np.zeros(0, kind) if isinstance(values, int) else np.array(values, kind)
