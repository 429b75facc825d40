"""ICC profiles, judged by LittleCMS (Pillow) against colour-science's own conversions."""

from __future__ import annotations

import warnings
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageCms

from ispkit.core.errors import FileError
from ispkit.io import icc
from ispkit.ops.color_spaces import COLOR_SPACES

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import colour

RGB = np.random.default_rng(0).integers(0, 256, (400, 3)).astype(np.uint8)
NAMES = {"srgb": "sRGB", "display-p3": "Display P3", "adobe-rgb": "Adobe RGB (1998)", "prophoto-rgb": "ROMM RGB"}
GAMMAS = {"srgb": "sRGB", "display-p3": "sRGB"}


def truth_lab(space: str, *, linear: bool) -> np.ndarray:
    """Lab (D50) of the encoded colors `RGB`, by colour-science."""
    rgb = RGB / 255.0
    if space == "xyz":
        return colour.XYZ_to_Lab(rgb, colour.CCS_ILLUMINANTS["CIE 1931 2 Degree Standard Observer"]["D50"])
    known = colour.RGB_COLOURSPACES[NAMES.get(space, "sRGB")]
    straight = linear or space == "linear-srgb"
    xyz = colour.RGB_to_XYZ(
        rgb, known, colour.CCS_ILLUMINANTS["CIE 1931 2 Degree Standard Observer"]["D50"],
        chromatic_adaptation_transform="Bradford", apply_cctf_decoding=not straight,
    )  # fmt: skip
    return colour.XYZ_to_Lab(xyz, colour.CCS_ILLUMINANTS["CIE 1931 2 Degree Standard Observer"]["D50"])


def lcms_lab(profile: bytes) -> np.ndarray:
    """The same through LittleCMS, to 8-bit Lab."""
    lab = ImageCms.createProfile("LAB", colorTemp=5003)
    source = ImageCms.ImageCmsProfile(BytesIO(profile))
    intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
    transform = ImageCms.buildTransform(source, lab, "RGB", "LAB", intent, ImageCms.Flags.NOOPTIMIZE)
    coded = np.asarray(ImageCms.applyTransform(Image.fromarray(RGB[None]), transform))[0].astype(float)
    coded[:, 0] *= 100 / 255
    coded[:, 1:] = (coded[:, 1:] + 128) % 256 - 128
    return coded


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("space", COLOR_SPACES)
def test_littlecms_sees_the_right_colors(space, linear):
    truth, seen = truth_lab(space, linear=linear), lcms_lab(icc.profile(space, linear=linear))
    inside = (np.abs(truth[:, 1:]) < 126).all(1) & (truth[:, 0] < 100)
    assert inside.mean() > 0.4
    delta = colour.delta_E(truth[inside], seen[inside], method="CIE 1976")
    assert np.median(delta) < 0.6  # 8-bit Lab is coarse: a code is 0.4 in L and 1 in a and b
    assert delta.max() < 1.3


@pytest.mark.parametrize("space", COLOR_SPACES)
def test_profiles_are_recognised_by_content(space):
    linear = space in ("xyz", "linear-srgb")
    content = icc.profile(space)
    assert content is icc.profile(space)
    assert len(content) == int.from_bytes(content[:4], "big") < 900
    assert icc.identify(content) == (space, linear)
    assert "ispkit" in icc.description(content)
    assert icc.identify(icc.profile(space, linear=True)) == ("linear-srgb" if space == "srgb" else space, True)
    assert ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(BytesIO(content))).strip().startswith("ispkit")


def test_profiles_of_others_are_recognised():
    """LittleCMS' own sRGB, whose curve and names are not ours."""
    theirs = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert icc.identify(theirs) == ("srgb", False)
    assert icc.identify(b"nothing of the kind") is None
    assert icc.identify(icc.profile("srgb")[:300]) is None
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    assert icc.identify(lab) is None
    with pytest.raises(FileError, match="did you mean 'srgb'"):
        icc.profile("srgbb")


@pytest.mark.parametrize("space", COLOR_SPACES)
def test_white_is_white_everywhere(space):
    """Encoded white of every space but XYZ is the connection space's white, to the last bit."""
    tags = icc._tags(icc.profile(space))
    total = np.sum([np.frombuffer(tags[c + b"XYZ"][8:20], ">i4") for c in (b"r", b"g", b"b")], axis=0)
    wanted = np.array([1, 1, 1]) if space == "xyz" else np.array([0.9642, 1.0, 0.8249])
    assert np.abs(total - np.round(wanted * 65536)).max() <= 2
