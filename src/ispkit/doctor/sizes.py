"""How plausible a picture size, a header and a row padding are, before any pixel is looked at."""

from __future__ import annotations

# width x height of the readouts of common image sensors and video formats (data sheets, libcamera, V4L2, LibRaw)
_STANDARD = """
256x256 320x240 400x400 512x384 512x512 640x480 640x512 644x484 656x492 658x492 659x494 720x480 720x576 752x480
768x512 768x576 780x580 800x600 808x608 816x616 1024x768 1024x1024 1032x778 1034x778 1280x720 1280x800 1280x960
1280x964 1280x1024 1288x728 1288x964 1296x972 1304x976 1312x984 1328x1048 1332x990 1344x1008 1392x1040 1440x1080
1456x1088 1536x1024 1536x1536 1600x1200 1600x1300 1608x1104 1616x1240 1624x1234 1624x1240 1628x1236 1632x1224
1640x1232 1920x1080 1920x1088 1920x1200 1936x1096 1936x1100 1936x1216 1936x1464 1944x1096 1944x1472 1952x1096
2016x1512 2028x1080 2028x1520 2048x1080 2048x1536 2048x2048 2056x1542 2064x1544 2064x1552 2104x1560 2208x1242
2304x1296 2304x1536 2312x1736 2328x1748 2336x1752 2448x2048 2452x2056 2464x2048 2464x2056 2472x2064 2560x1440
2560x1600 2560x1920 2560x2048 2592x1520 2592x1536 2592x1944 2592x2048 2608x1960 2688x1512 2688x1520 2704x1520
2712x1538 2750x2200 2840x2840 2880x1616 2880x1860 3000x3000 3072x1728 3072x2048 3072x2304 3088x2064 3088x2076
3096x2080 3120x2340 3200x2400 3208x2200 3264x2448 3280x2464 3296x2472 3296x2512 3328x2496 3376x2704 3840x2160
3856x2176 3856x2180 3864x2192 3872x2192 3872x2592 3888x2592 3904x2622 4000x3000 4008x3000 4024x3036 4032x3024
4048x3040 4056x3036 4056x3040 4064x3048 4096x2160 4096x2176 4096x2304 4096x3000 4096x3072 4112x2176 4112x3008
4112x3120 4128x2176 4144x2822 4144x3112 4160x3120 4200x3120 4208x3120 4256x2832 4272x2848 4288x2848 4352x3264
4368x2912 4512x4512 4592x3448 4608x2592 4608x3072 4608x3456 4624x3472 4640x3472 4656x3496 4672x3104 4752x3168
4872x3248 4896x3264 4896x3672 4912x3684 4928x3264 4944x3280 5120x2700 5120x2880 5120x3840 5120x5120 5184x3456
5202x3464 5312x3032 5320x3032 5320x4600 5328x3040 5328x4608 5472x3072 5472x3648 5496x3672 5568x3712 5616x3744
5632x4224 5664x4256 5760x3840 6000x4000 6016x4016 6024x4024 6048x4024 6144x3456 6240x4160 6264x4180 6288x4056
6464x4852 6560x4928 6576x4384 6600x4400 6720x4480 6960x4640 7360x4912 7392x4950 7680x4320 7728x5152 7952x5304
8000x6000 8064x6048 8144x6112 8160x6120 8192x5464 8192x6144 8256x5504 8280x6208 8688x5792 8736x5856 9000x6000
9152x6944 9216x6912 9248x6936 9344x7000 9504x6336 9568x6380 10320x7752 11648x8736 11656x8742 11664x8750
12000x9000 12032x9024 12288x9216 14192x10640 16320x12240
"""
STANDARD_SIZES: frozenset[tuple[int, int]] = frozenset(
    (int(w), int(h)) for w, h in (pair.split("x") for pair in _STANDARD.split())
)
STANDARD_WIDTHS: tuple[int, ...] = tuple(sorted({w for w, _ in STANDARD_SIZES} | {h for _, h in STANDARD_SIZES}))
_ASPECTS = (4 / 3, 3 / 2, 16 / 9, 1.0, 5 / 4, 17 / 9, 16 / 10, 2.0)


def size_log_prior(width: int, height: int) -> float:
    """Logarithm of the prior of a picture size, 0 for one that a known sensor has."""
    if (width, height) in STANDARD_SIZES or (height, width) in STANDARD_SIZES:
        return 0.0
    tidy = {0: -1.0, 8: -1.5, 4: -2.0, 12: -2.0}
    prior = sum(tidy.get(n % 16, -2.5 if n % 2 == 0 else -6.0) for n in (width, height))
    aspect = max(width, height) / min(width, height)
    if min(abs(aspect / a - 1) for a in _ASPECTS) > 0.02:
        prior -= 1.5
    return prior - (4.0 if aspect > 3 else 0.0) - (4.0 if aspect > 6 else 0.0)


def offset_log_prior(offset: int) -> float:
    """Logarithm of the prior of a header of so many bytes: none, a round number, any other."""
    if offset == 0:
        return 0.0
    if offset >= 16 and offset & (offset - 1) == 0:
        return -3.0
    return -5.0 if offset % 16 == 0 else -7.0


def padding_log_prior(padding: int, stride: int) -> float:
    """Logarithm of the prior of bytes at the end of a row that are not samples."""
    if padding == 0:
        return 0.0
    if padding < 512 and stride % 16 == 0:
        return -2.0
    return -6.0 if padding < 8 else -8.0


def trailing_log_prior(trailing: int) -> float:
    """Logarithm of the prior of bytes after the last row."""
    if trailing == 0:
        return 0.0
    return -4.0 if trailing >= 16 and trailing & (trailing - 1) == 0 else -6.0
