"""The Gray-code sequence, decoded as a camera that sees every pixel of the display would."""

from __future__ import annotations

import pytest
import torch

from ispkit.charts.gray_code import from_gray, gray_code_sequence, to_gray
from ispkit.core.errors import IspkitError


@pytest.mark.parametrize(("height", "width"), [(9, 16), (8, 13), (2, 2), (33, 65)])
def test_the_pictures_number_every_pixel(height, width):
    sequence = gray_code_sequence(height, width)
    shown = {(p.axis, p.bit, p.inverse): sequence.picture(p) for p in sequence.patterns if p.kind == "bit"}
    for axis, extent in (("column", width), ("row", height)):
        code = torch.zeros(height, width, dtype=torch.long)
        for bit in range(sequence.bits(axis)):
            code |= (shown[axis, bit, False][1] > shown[axis, bit, True][1]).long() << bit
        number = from_gray(code)
        line = torch.arange(extent)
        assert torch.equal(number, (line[None] if axis == "column" else line[:, None]).expand(height, width))
        codes = code[0] if axis == "column" else code[:, 0]
        for a, b in zip(codes.tolist(), codes.tolist()[1:], strict=False):
            assert (a ^ b).bit_count() == 1  # neighbors differ in one bit


def test_each_picture_and_its_inverse_make_white():
    sequence = gray_code_sequence(10, 24, color=(0.0, 0.8, 0.1))
    pictures = list(sequence.pictures())
    assert [p.kind for p in sequence.patterns[:2]] == ["white", "black"]
    white, black = pictures[:2]
    assert white[:, 3, 3].tolist() == pytest.approx([0.0, 0.8, 0.1])
    assert black.count_nonzero() == 0
    bits = list(zip(sequence.patterns[2:], pictures[2:], strict=True))
    assert len(bits) == 2 * (5 + 4)
    for (straight, a), (inverse, b) in zip(bits[::2], bits[1::2], strict=True):
        assert (straight.inverse, inverse.inverse) == (False, True)
        assert (straight.axis, straight.bit) == (inverse.axis, inverse.bit)
        assert torch.equal(a + b, white)
    assert len({p.name for p in sequence.patterns}) == len(sequence.patterns)
    assert gray_code_sequence(**sequence.truth()["parameters"]).truth() == sequence.truth()


def test_gray_code_goes_there_and_back():
    numbers = torch.arange(16384)
    assert torch.equal(from_gray(to_gray(numbers)), numbers)


@pytest.mark.parametrize("call", [(1, 8), (8, 99999), (8, 8, (0.0, 0.0, 0.0)), (8, 8, (0.0, 2.0, 0.0)), (8, 8, (1.0,))])
def test_what_is_no_display_is_refused(call):
    with pytest.raises(IspkitError, match="gray_code"):
        gray_code_sequence(*call[:2], **({"color": call[2]} if len(call) > 2 else {}))
