import math

import cv2
import numpy as np
import pytest
import torch
from skimage.restoration import denoise_bilateral, denoise_nl_means

from conftest import make_frame
from ispkit.core.frame import Domain
from ispkit.isp.stages.denoise import Denoise
from ispkit.ops import bilateral, blur, guided, nlm, rgb_denoise
from stage_laws import batch_equals_loop, compiles_and_survives_autocast, gradients_are_right, tile_equals_whole

METHODS = ("guided", "bilateral", "nlm")
PROFILE = (4e-3, 1e-4)


def noisy_picture(size=(48, 56), channels=3, sigma=0.05, seed=0):
    g = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, channels, 6, 7, generator=g)
    clean = torch.nn.functional.interpolate(coarse, size=size, mode="nearest")
    return clean, clean + sigma * torch.randn(clean.shape, generator=g)


def hwc(x):
    return x[0].permute(1, 2, 0).double().numpy()


def test_nlm_equals_scikit_image():
    _, x = noisy_picture()
    for patch, distance, h in ((3, 4, 0.1), (5, 3, 0.06)):
        # the slow method weights patches by a Gaussian; the fast one's patches are a pixel too small
        kernel = blur.gaussian_kernel((patch - 1) / 4, patch // 2, x)
        ours = nlm.non_local_means(x, x, h, window=nlm.square_window(distance), patch=kernel)
        theirs = denoise_nl_means(
            hwc(x), patch_size=patch, patch_distance=distance, h=h, fast_mode=False, channel_axis=-1
        )
        # scikit-image leaves out weights below exp(-5)
        error = np.abs(hwc(ours) - theirs)[8:-8, 8:-8]
        assert error.max() < 0.02
        assert error.mean() < 1e-3


def slow_nlm(x, h, distance, radius):
    """The definition, pixel by pixel."""
    rows, columns, _ = x.shape
    p = np.pad(x, ((distance + radius,) * 2,) * 2 + ((0, 0),), mode="reflect")
    out = np.zeros_like(x)
    for i, j in np.ndindex(rows, columns):
        y, z = i + distance + radius, j + distance + radius
        own, total = p[y - radius : y + radius + 1, z - radius : z + radius + 1], 0.0
        for dy, dx in np.ndindex(2 * distance + 1, 2 * distance + 1):
            v, u = i + dy + radius, j + dx + radius
            other = p[v - radius : v + radius + 1, u - radius : u + radius + 1]
            weight = np.exp(-((own - other) ** 2).mean() / h**2)
            out[i, j] += weight * p[v, u]
            total += weight
        out[i, j] /= total
    return out


def test_nlm_equals_its_definition():
    _, x = noisy_picture((10, 13))
    x = x.double()
    ours = nlm.non_local_means(x, x, 0.2, window=nlm.square_window(3), patch=blur.box_kernel(1, x))
    np.testing.assert_allclose(hwc(ours), slow_nlm(hwc(x), 0.2, 3, 1), atol=1e-12)


def test_bilateral_equals_opencv_and_scikit_image():
    x = noisy_picture(channels=1)[1].clamp(0, 1)
    disk = {shift: w for shift, w in nlm.gaussian_window(2.0, 4).items() if math.hypot(*shift) <= 4}
    theirs = cv2.bilateralFilter(x[0, 0].numpy(), 9, 0.1, 2.0)
    ours = bilateral.bilateral_filter(x, x, 0.1, window=disk)[0, 0].numpy()
    assert np.abs(ours - theirs).max() < 1e-4
    flat = {"sigma_spatial": 1e6, "win_size": 9, "sigma_color": 0.1, "bins": 100_000}
    theirs = denoise_bilateral(x[0, 0].double().numpy(), **flat)
    ours = bilateral.bilateral_filter(x, x, 0.1, window=nlm.square_window(4))[0, 0].numpy()
    assert np.abs(ours - theirs)[4:-4, 4:-4].max() < 1e-4


def slow_guided(image, guide, radius, epsilon):
    """He et al. 2010, equations 5, 6 and 8, with windows that stay inside the picture."""
    rows, columns = guide.shape
    a, b = np.zeros((rows, columns)), np.zeros((rows, columns))
    for i, j in np.ndindex(rows, columns):
        w = np.s_[max(0, i - radius) : i + radius + 1, max(0, j - radius) : j + radius + 1]
        g, p = guide[w].ravel(), image[w].ravel()
        a[i, j] = ((g * p).mean() - g.mean() * p.mean()) / (g.var() + epsilon)
        b[i, j] = p.mean() - a[i, j] * g.mean()
    out = np.zeros((rows, columns))
    for i, j in np.ndindex(rows, columns):
        w = np.s_[max(0, i - radius) : i + radius + 1, max(0, j - radius) : j + radius + 1]
        out[i, j] = a[w].mean() * guide[i, j] + b[w].mean()
    return out


def test_guided_filter_equals_its_definition_inside():
    guide, image = (noisy_picture((24, 24), 1, seed=s)[1].double() for s in (0, 1))
    ours = guided.guided_filter(image, guide, 3, epsilon=0.01)[0, 0].numpy()
    theirs = slow_guided(image[0, 0].numpy(), guide[0, 0].numpy(), 3, 0.01)
    np.testing.assert_allclose(ours[6:-6, 6:-6], theirs[6:-6, 6:-6], atol=1e-12)


def test_self_guided_is_the_guided_filter_of_a_gray_picture():
    x = noisy_picture(channels=1)[1].double()
    kernel = blur.box_kernel(3, x)
    ours = guided.self_guided(x, guided.local_variance(x, kernel), kernel, epsilon=0.01)
    torch.testing.assert_close(ours, guided.guided_filter(x, x, 3, epsilon=0.01))


def test_noise_units_make_the_noise_one():
    g = torch.Generator().manual_seed(0)
    ramp = torch.linspace(0.0, 1.0, 9).reshape(1, 1, 9, 1).expand(1, 3, 9, 20_000)
    profile = torch.tensor([[(1e-3, 1e-5), (4e-3, 1e-5), (0.0, 1e-4)]])
    gain = torch.full((1, 1, 9, 20_000), 2.0)
    for g_map in (None, gain):
        k = 1.0 if g_map is None else 2.0
        variance = k * profile[..., :1, None] * ramp + k**2 * profile[..., 1:, None]
        z = rgb_denoise.noise_units(ramp + variance.sqrt() * torch.randn(ramp.shape, generator=g), profile, g_map)
        # to first order: where the noise itself is large against O / S its curvature shows
        assert (z.std(dim=-1)[:, :, 2:] - 1).abs().max() < 0.02


def test_unknown_noise_is_nominal_per_frame():
    x = noisy_picture()[1].expand(2, -1, -1, -1)
    s, o = rgb_denoise.NOMINAL_PROFILE
    both = rgb_denoise.noise_units(x, torch.tensor([[[0.0, 0.0]] * 3, [PROFILE] * 3]))
    for row, profile in enumerate(((s, o), PROFILE)):
        torch.testing.assert_close(both[row : row + 1], rgb_denoise.noise_units(x[:1], torch.tensor([[profile] * 3])))


@pytest.mark.parametrize("method", METHODS)
def test_off_is_identity_and_parts_are_separate(method):
    frame = make_frame(Domain.LINEAR_RGB)
    stage = Denoise()
    assert stage(frame, {"method": method}).data is frame.data
    assert stage.support({"method": method, "luma": 0.0, "chroma": 0.0, "radius": 3.0}, frame.size) == 0
    zero = torch.tensor(0.0)
    off = stage(frame, {"method": method, "luma": zero, "chroma": zero}).data
    torch.testing.assert_close(off, frame.data, atol=1e-6, rtol=0)
    weights = torch.tensor([0.2126, 0.7152, 0.0722]).reshape(1, 3, 1, 1)
    chroma_only = stage(frame, {"method": method, "chroma": 1.0}).data
    torch.testing.assert_close((chroma_only * weights).sum(1), (frame.data * weights).sum(1), atol=1e-6, rtol=0)
    luma_only = stage(frame, {"method": method, "luma": 1.0}).data - frame.data
    torch.testing.assert_close(luma_only, luma_only[:, :1].expand(-1, 3, -1, -1), atol=1e-6, rtol=0)


@pytest.mark.parametrize("method", METHODS)
def test_flat_noise_falls_and_edges_stay(method):
    s, o = PROFILE
    frame = make_frame(Domain.LINEAR_RGB, (64, 96), batch=1, noise_profile=[PROFILE])
    clean = torch.full_like(frame.data, 0.1)
    clean[..., 48:] = 0.7
    g = torch.Generator().manual_seed(0)
    noisy = clean + (s * clean + o).sqrt() * torch.randn(clean.shape, generator=g)
    out = Denoise()(frame.with_data(noisy), {"method": method, "luma": 1.5, "chroma": 1.5, "radius": 4.0}).data
    assert out[..., 8:-8, 8:40].std() < 0.5 * noisy[..., 8:-8, 8:40].std()
    assert (out.mean(dim=-2) - clean.mean(dim=-2))[..., 44:52].abs().max() < 0.06
    assert (out.mean() - clean.mean()).abs() < 2e-3


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_laws(method):
    on = {"method": method, "luma": 1.2, "chroma": 1.0, "radius": 2.5}
    tile_equals_whole(Denoise(), on, noise_profile=[PROFILE], atol=5e-6)
    compiles_and_survives_autocast(Denoise(), on | {"radius": 1.0})
    gradients_are_right(Denoise(), on, noise_profile=[PROFILE])


def test_batch_equals_loop():
    settings = {
        "method": [*METHODS, "guided"],
        "luma": [0.0, 1.0, 2.0, 1.0],
        "chroma": [1.0, 2.0, 0.5, 0.0],
        "radius": [1.0, 2.5, 4.0, 8.0],
        "patch": ["3", "3", "5", "3"],
    }
    batch_equals_loop(Denoise(), settings, noise_profile=[PROFILE])


# strength 1 on both, radius 3, on signal-dependent noise: mean gain over crops of four Kodak pictures
KODAK_GAIN_DB = {
    (4e-4, 4e-6): {"guided": 1.4, "bilateral": 2.6, "nlm": 1.5},
    PROFILE: {"guided": 3.5, "bilateral": 5.0, "nlm": 4.5},
}


@pytest.mark.parametrize("profile", KODAK_GAIN_DB)
def test_kodak_gains(shared, profile):
    s, o = profile
    gains = {m: [] for m in METHODS}
    for i, path in enumerate(sorted((shared / "kodak24").glob("*.png"))[::3]):
        encoded = cv2.imread(str(path))[100:292, 100:356, ::-1].astype(np.float32) / 255
        linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
        clean = torch.from_numpy(linear.astype(np.float32)).permute(2, 0, 1)[None]
        frame = make_frame(Domain.LINEAR_RGB, clean.shape[-2:], batch=1, noise_profile=[profile])
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(i))
        noisy = clean + (s * clean + o).sqrt() * noise
        for method in METHODS:
            out = Denoise()(frame.with_data(noisy), {"method": method, "luma": 1.0, "chroma": 1.0}).data
            gains[method].append(psnr(out, clean) - psnr(noisy, clean))
    found = {m: round(float(np.mean(v)), 2) for m, v in gains.items()}
    assert all(found[m] >= KODAK_GAIN_DB[profile][m] for m in METHODS), found


def psnr(x, reference):
    def encode(v):
        v = v.clamp(0, 1)
        return torch.where(v <= 0.0031308, 12.92 * v, 1.055 * v.clamp(min=1e-6) ** (1 / 2.4) - 0.055)

    return float(-10 * torch.log10((encode(x) - encode(reference)).square().mean()))
