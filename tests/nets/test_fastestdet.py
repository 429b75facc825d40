"""FastestDet: its shapes, its cells, its published weights, and the same numbers as its ONNX file."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ispkit.core.errors import FileError, ShapeError
from ispkit.nets.fastestdet import FastestDet, cells, load_fastestdet

WEIGHTS = "model_fastestdet_coco/fastestdet_coco_ap05_0.253.pth"


@pytest.fixture(scope="module")
def published(shared):
    path = shared / WEIGHTS
    if not path.is_file():
        pytest.skip(f"needs {path}")
    return load_fastestdet(path)


def test_one_cell_for_16_pixels():
    net = FastestDet(classes=3).eval()
    output = net(torch.rand(2, 3, 64, 96))
    assert output.shape == (2, 8, 4, 6)
    torch.testing.assert_close(output[:, 5:].sum(1), torch.ones(2, 4, 6))


def test_sides_must_be_multiples_of_32():
    with pytest.raises(ShapeError, match="32 n"):
        FastestDet(3)(torch.rand(1, 3, 64, 80))


def test_cells_are_read_row_by_row():
    output = torch.zeros(1, 7, 2, 3)
    output[0, 0, 1, 2] = 0.9
    output[0, 1, 1, 2] = 0.5
    output[0, 6, 1, 2] = 1.0
    found = cells(output)
    assert found.objectness[0].argmax() == 5
    expected = torch.tensor([(2 + np.tanh(0.5)) / 3, 1 / 2, 0.5, 0.5], dtype=torch.float32)
    torch.testing.assert_close(found.boxes[0, 5], expected)
    assert found.classes[0, 5].tolist() == [0.0, 1.0]


def test_same_numbers_as_the_onnx_file(shared, published):
    runtime = pytest.importorskip("onnxruntime")
    peer = runtime.InferenceSession(shared / "model_fastestdet_coco/FastestDet.onnx")
    picture = torch.rand(1, 3, 352, 352, generator=torch.Generator().manual_seed(0))
    (wanted,) = peer.run(None, {peer.get_inputs()[0].name: picture.numpy()})
    np.testing.assert_allclose(published(picture).numpy(), wanted, atol=1e-4)


def test_published_weights_are_frozen_and_all_used(shared, published):
    stored = torch.load(shared / WEIGHTS, map_location="cpu", weights_only=True)
    assert set(stored) == set(published.state_dict())
    assert not published.training
    assert not any(p.requires_grad for p in published.parameters())


def test_own_classes_come_from_the_file(tmp_path):
    torch.save(FastestDet(classes=2).state_dict(), tmp_path / "two.pth")
    assert load_fastestdet(tmp_path / "two.pth").detect_head.classes == 2


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "no such file"),
        (b"not weights", "not a file of plain weights"),
        ([1, 2], "no dictionary of tensors"),
        ({"conv.weight": torch.zeros(3)}, "has no weight 'backbone.first_conv.0.weight'"),
    ],
)
def test_wrong_files_are_refused_with_the_reason(tmp_path, content, reason):
    path = tmp_path / "x.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(FileError, match=reason):
        load_fastestdet(path)


def test_a_weight_of_another_shape_is_refused(tmp_path):
    weights = FastestDet(classes=2).state_dict()
    weights["SPP.output.0.weight"] = torch.zeros(2, 2, 1, 1)
    torch.save(weights, tmp_path / "x.pth")
    with pytest.raises(FileError, match=r"'SPP.output.0.weight' is \(2, 2, 1, 1\)"):
        load_fastestdet(tmp_path / "x.pth")
