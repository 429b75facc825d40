import io

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from scipy.fft import dctn

from conftest import make_frame
from ispkit.core.frame import Domain
from ispkit.isp.stages.jpeg import Jpeg
from ispkit.ops import jpeg
from stage_laws import batch_equals_loop, compiles_and_survives_autocast, tile_equals_whole

PILLOW = {"4:4:4": 0, "4:2:0": 2}


def textured(size=(83, 117), seed=0):
    """8-bit RGB with edges, ramps and texture; odd size, so that blocks are padded."""
    g = np.random.default_rng(seed)
    coarse = cv2.resize(g.random((7, 9, 3)), size[::-1], interpolation=cv2.INTER_CUBIC)
    coarse[:, size[1] // 2 :] = 1 - coarse[:, size[1] // 2 :]
    return (255 * (coarse + 0.03 * g.standard_normal((*size, 1))).clip(0, 1)).round().astype(np.uint8)


def pillow(picture, quality, subsampling):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality, subsampling=PILLOW[subsampling])
    return np.asarray(Image.open(file)).astype(float)


def ours(picture, quality, subsampling):
    x = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255
    return jpeg.jpeg(x, quality, subsampling=subsampling)[0].permute(1, 2, 0).double().numpy() * 255


def psnr(a, b):
    return 10 * np.log10(255**2 / ((a - b) ** 2).mean())


def check(picture, quality, subsampling):
    theirs, model = pillow(picture, quality, subsampling), ours(picture, quality, subsampling)
    assert np.abs(model - theirs).mean() < 0.75
    assert abs(psnr(model, picture) - psnr(theirs, picture)) < (0.4 if quality == 100 else 0.05)
    if quality <= 95:
        assert np.abs(model - theirs).mean() < 0.35 * np.abs(theirs - picture).mean()


@pytest.mark.parametrize("subsampling", PILLOW)
@pytest.mark.parametrize("quality", [5, 30, 75, 95])
def test_equals_the_real_codec(quality, subsampling):
    """Mean difference below 0.75 codes and PSNR within 0.05 dB; ties and integer DCTs make the rest."""
    check(textured((160, 232)), quality, subsampling)


@pytest.mark.parametrize("subsampling", PILLOW)
def test_equals_the_real_codec_on_kodak(shared, subsampling):
    for path in sorted((shared / "kodak24").glob("*.png"))[:2]:
        picture = np.asarray(Image.open(path).convert("RGB"))[:243, :357]
        for quality in (10, 50, 90, 100):
            check(picture, quality, subsampling)


@pytest.mark.parametrize("quality", [1, 10, 49, 50, 75, 100])
def test_tables_are_the_ones_in_a_file(quality):
    file = io.BytesIO()
    Image.fromarray(textured()).save(file, "JPEG", quality=quality)
    tables = Image.open(file).quantization
    for index, base in enumerate((jpeg.LUMA_TABLE, jpeg.CHROMA_TABLE)):
        table = jpeg.quantization_table(base, quality, torch.zeros(()))
        assert table.flatten().int().tolist() == list(tables[index])


def test_quantized_coefficients_are_multiples_of_the_table():
    gray = np.repeat(textured((64, 64))[..., 1:2], 3, axis=2)
    out = ours(gray, 20, "4:4:4")[..., 0] - 128
    blocks = out.reshape(8, 8, 8, 8).transpose(0, 2, 1, 3)
    table = jpeg.quantization_table(jpeg.LUMA_TABLE, 20, torch.zeros(())).numpy()[0]
    levels = dctn(blocks, axes=(2, 3), norm="ortho") / table
    inside = np.abs(out).reshape(8, 8, 8, 8).transpose(0, 2, 1, 3).max((2, 3)) < 127
    assert np.abs(levels - levels.round())[inside].max() < 0.1


def test_off_is_identity():
    frame = make_frame(Domain.DISPLAY_RGB)
    assert Jpeg()(frame).data is frame.data
    assert Jpeg().support({"mode": "off", "subsampling": "4:2:0", "quality": 75.0}, frame.size) == 0


@pytest.mark.slow
def test_laws():
    for subsampling in PILLOW:
        on = {"mode": "straight_through", "quality": 30.0, "subsampling": subsampling}
        tile_equals_whole(Jpeg(), on, size=(150, 203), atol=0.0)
        compiles_and_survives_autocast(Jpeg(), on)
    settings = {
        "mode": ["straight_through", "off", "straight_through"],
        "quality": [10.0, 50.0, 95.0],
        "subsampling": ["4:4:4", "4:2:0", "4:2:0"],
    }
    batch_equals_loop(Jpeg(), settings)


def test_gradients():
    x = 0.2 + 0.6 * make_frame(Domain.DISPLAY_RGB, (16, 16), batch=1).data.double()
    x.requires_grad_()
    for subsampling in PILLOW:
        run = lambda v, s=subsampling: jpeg.jpeg(v, 40.0, subsampling=s, rounding="soft")  # noqa: E731
        assert torch.autograd.gradcheck(run, x, atol=1e-4, fast_mode=True)
    out = jpeg.jpeg(x, 90.0, subsampling="4:4:4")
    assert out.min() > 0
    assert out.max() < 1
    # without its rounding the codec is the identity, and so is the straight-through gradient
    torch.testing.assert_close(torch.autograd.grad(out.square().sum(), x)[0], 2 * out)


def test_soft_rounding_stays_near_real_rounding():
    x = make_frame(Domain.DISPLAY_RGB, (48, 64), batch=1).data
    real, soft = (jpeg.jpeg(x, 50.0, rounding=r) for r in ("straight_through", "soft"))
    assert 0 < (real - soft).abs().mean() < 0.01
