"""TensorFlow Lite files: what is in them, dequantized; damaged ones give one kind of error."""

from __future__ import annotations

import sys
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ispkit.core.errors import FileError, MissingExtraError
from ispkit.io.tflite import TfliteTensor, read_tflite

flatbuffers = pytest.importorskip("flatbuffers")
tflite = pytest.importorskip("tflite")
KERNEL = np.arange(2 * 3 * 3 * 1, dtype=np.uint8).reshape(2, 3, 3, 1)
BIAS = np.array([10, -20], np.int32)


def vector(b, values, start, prepend):
    start(b, len(values))
    for v in reversed(values):
        prepend(v)
    return b.EndVector()


def content(b, array):
    data = b.CreateNumpyVector(np.frombuffer(array.tobytes(), np.uint8)) if array is not None else None
    tflite.BufferStart(b)
    if data is not None:
        tflite.BufferAddData(b, data)
    return tflite.BufferEnd(b)


def tensor(b, name, shape, buffer, kind, scale, zero):
    word = b.CreateString(name)
    sides = b.CreateNumpyVector(np.array(shape, np.int32))
    scales, zeros = b.CreateNumpyVector(np.array(scale, np.float32)), b.CreateNumpyVector(np.array(zero, np.int64))
    tflite.QuantizationParametersStart(b)
    tflite.QuantizationParametersAddScale(b, scales)
    tflite.QuantizationParametersAddZeroPoint(b, zeros)
    quantized = tflite.QuantizationParametersEnd(b)
    tflite.TensorStart(b)
    tflite.TensorAddShape(b, sides)
    tflite.TensorAddType(b, kind)
    tflite.TensorAddBuffer(b, buffer)
    tflite.TensorAddName(b, word)
    tflite.TensorAddQuantization(b, quantized)
    return tflite.TensorEnd(b)


def convolution(b):
    tflite.Conv2DOptionsStart(b)
    tflite.Conv2DOptionsAddPadding(b, tflite.Padding.SAME)
    tflite.Conv2DOptionsAddStrideH(b, 2)
    tflite.Conv2DOptionsAddStrideW(b, 3)
    tflite.Conv2DOptionsAddDilationHFactor(b, 1)
    tflite.Conv2DOptionsAddDilationWFactor(b, 1)
    tflite.Conv2DOptionsAddFusedActivationFunction(b, tflite.ActivationFunctionType.RELU6)
    options = tflite.Conv2DOptionsEnd(b)
    ends = [b.CreateNumpyVector(np.array(v, np.int32)) for v in ([0, 1, 2], [3])]
    tflite.OperatorStart(b)
    tflite.OperatorAddOpcodeIndex(b, 0)
    tflite.OperatorAddInputs(b, ends[0])
    tflite.OperatorAddOutputs(b, ends[1])
    tflite.OperatorAddBuiltinOptionsType(b, tflite.BuiltinOptions.Conv2DOptions)
    tflite.OperatorAddBuiltinOptions(b, options)
    return tflite.OperatorEnd(b)


def written(kernel=KERNEL, kernel_shape=(2, 3, 3, 1), last=3):
    """One convolution of a gray picture, as a file."""
    b = flatbuffers.Builder(1024)
    buffers = [content(b, a) for a in (None, kernel, BIAS)]
    u8, i32 = tflite.TensorType.UINT8, tflite.TensorType.INT32
    tensors = [
        tensor(b, "input", (1, 8, 9, 1), 0, u8, [0.0078125], [128]),
        tensor(b, "kernel", kernel_shape, 1, u8, [0.5], [4]),
        tensor(b, "bias", (2,), 2, i32, [0.25], [0]),
        tensor(b, "output", (1, 4, 3, 2), 0, u8, [0.02], [0]),
    ]
    operators = [convolution(b)]
    lists = [
        vector(b, tensors, tflite.SubGraphStartTensorsVector, b.PrependUOffsetTRelative),
        vector(b, operators, tflite.SubGraphStartOperatorsVector, b.PrependUOffsetTRelative),
        b.CreateNumpyVector(np.array([0], np.int32)),
        b.CreateNumpyVector(np.array([last], np.int32)),
    ]
    tflite.SubGraphStart(b)
    for add, offset in zip(
        (
            tflite.SubGraphAddTensors,
            tflite.SubGraphAddOperators,
            tflite.SubGraphAddInputs,
            tflite.SubGraphAddOutputs,
        ),
        lists,
        strict=True,
    ):
        add(b, offset)
    graph = tflite.SubGraphEnd(b)
    tflite.OperatorCodeStart(b)
    tflite.OperatorCodeAddDeprecatedBuiltinCode(b, tflite.BuiltinOperator.CONV_2D)
    code = tflite.OperatorCodeEnd(b)
    graphs = vector(b, [graph], tflite.ModelStartSubgraphsVector, b.PrependUOffsetTRelative)
    codes = vector(b, [code], tflite.ModelStartOperatorCodesVector, b.PrependUOffsetTRelative)
    kept = vector(b, buffers, tflite.ModelStartBuffersVector, b.PrependUOffsetTRelative)
    tflite.ModelStart(b)
    tflite.ModelAddVersion(b, 3)
    tflite.ModelAddOperatorCodes(b, codes)
    tflite.ModelAddSubgraphs(b, graphs)
    tflite.ModelAddBuffers(b, kept)
    b.Finish(tflite.ModelEnd(b), file_identifier=b"TFL3")
    return bytes(b.Output())


def test_a_file_tells_its_network():
    model = read_tflite(written())
    assert (model.inputs, model.outputs) == ((0,), (3,))
    assert [t.name for t in model.tensors] == ["input", "kernel", "bias", "output"]
    assert model.tensors[0].array is None
    (step,) = model.operators
    assert (step.kind, step.strides, step.padding, step.activation) == ("CONV_2D", (2, 3), "SAME", "RELU6")
    (layer,) = model.layers()
    np.testing.assert_array_equal(layer.weight[:, 0], (KERNEL[..., 0].astype(np.float32) - 4) * 0.5)
    assert layer.weight.shape == (2, 1, 3, 3)
    np.testing.assert_array_equal(layer.bias, [2.5, -5.0])


def test_scales_of_an_axis():
    stored = np.array([[1, 2], [3, 4]], np.int8)
    one = TfliteTensor("t", (2, 2), stored, np.float32([1, 10]), np.array([0, 1]), axis=1)
    np.testing.assert_array_equal(one.real(), [[1, 10], [3, 30]])
    with pytest.raises(FileError, match="has no content"):
        TfliteTensor("t", (2, 2), None, np.float32([]), np.array([])).real()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not a TensorFlow Lite file"),
        (b"PK\x03\x04" + bytes(90), "not a TensorFlow Lite file"),
        (b"\xff\xff\xff\x7fTFL3" + bytes(90), "damaged"),
        (written(kernel_shape=(2, 3, 3, 2)), "'kernel' of shape .* has 18 bytes: damaged"),
        (written(last=9), "names a tensor that it does not have"),
    ],
)
def test_damaged_files_say_so(data, reason):
    with pytest.raises(FileError, match=reason):
        read_tflite(data)


@settings(max_examples=150, deadline=None)
@given(st.integers(8, 1 << 16), st.integers(0, 255), st.booleans())
def test_any_damage_gives_one_kind_of_error(place, value, cut):
    data = bytearray(written())
    place %= len(data)
    if cut:
        data = data[: max(place, 8)]
    else:
        data[max(place, 8)] = value
    with suppress(FileError):
        read_tflite(bytes(data)).layers()


def test_the_package_is_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "tflite", None)
    with pytest.raises(MissingExtraError, match=r"ispkit\[heads\]"):
        read_tflite(written())
