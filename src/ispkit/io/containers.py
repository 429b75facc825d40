"""What a file is, by its first bytes: which RAW container, or what else, in words for a message.

LibRaw opens what it does not know by its *size*, as some camera's headerless dump; so nothing reaches
it that is not named here.
"""

from __future__ import annotations

import re

from ispkit.core.errors import FileError
from ispkit.io.tiff_tree import Directory, TiffTree, read_tree

RAW_SUFFIXES = re.compile(
    r"\.(3fr|ari|arw|bay|cap|cr2|cr3|crw|dcr|dcs|dng|erf|fff|gpr|iiq|k25|kdc|mef|mos|mrw|nef|nrw"
    r"|orf|ori|pef|ptx|pxn|raf|raw|rw2|rwl|sr2|srf|srw|x3f)",
    re.IGNORECASE,
)
"""names of camera RAW files, and of headerless dumps"""

DNG_VERSION, MAKE, PHOTOMETRIC, SUB_FILE_TYPE = 50706, 271, 262, 254
_PLAIN_PHOTOMETRIC = frozenset({0, 1, 2, 3, 4, 5, 6, 8, 9})

# (position, signature, container); TIFF-like files are told apart by their tags
_RAW_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"FUJIFILMCCD-RAW", "Fujifilm RAF"),
    (4, b"ftypcrx ", "Canon CR3"),
    (6, b"HEAPCCDR", "Canon CRW"),
    (0, b"\0MRM", "Minolta MRW"),
    (0, b"FOVb", "Sigma X3F"),
    (0, b"CI\x2c\0", "Phantom CINE"),
    (0, b"NOKIARAW", "Nokia RAW"),
    (0, b"ARRI", "ARRI"),
    (4, b"RED1", "RED R3D"),
    (4, b"RED2", "RED R3D"),
)
_OTHERS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\xff\xd8\xff", "a JPEG picture"),
    (0, b"\x89PNG\r\n\x1a\n", "a PNG picture"),
    (0, b"GIF8", "a GIF picture"),
    (8, b"WEBP", "a WebP picture"),
    (0, b"BM", "a BMP picture"),
    (4, b"ftypheic", "a HEIF picture"),
    (4, b"ftypheix", "a HEIF picture"),
    (4, b"ftypmif1", "a HEIF picture"),
    (4, b"ftypmsf1", "a HEIF picture"),
    (4, b"ftypavif", "an AVIF picture"),
    (4, b"ftyp", "a video (MP4 or MOV)"),
    (4, b"moov", "a video (MOV)"),
    (0, b"\xff\x0a", "a JPEG XL picture"),
    (4, b"JXL ", "a JPEG XL picture"),
    (4, b"jP  ", "a JPEG 2000 picture"),
    (0, b"\x76\x2f\x31\x01", "an OpenEXR picture"),
    (0, b"8BPS", "a Photoshop document"),
    (0, b"%PDF", "a PDF document"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"7z\xbc\xaf", "a 7-Zip archive"),
    (0, b"RIFF", "a RIFF file (AVI or WAV)"),
    (0, b"II+\0", "a BigTIFF file"),
    (0, b"MM\0+", "a BigTIFF file"),
    (0, b"\x7fELF", "a program"),
    (0, b"\x89HDF", "an HDF5 file"),
    (0, b"SIMPLE  =", "a FITS picture"),
)
_GEOMETRY = "if it is a headerless dump, give its geometry (width, height, bits, CFA)"


def identify(data: bytes) -> tuple[str, TiffTree | None]:
    """The RAW container that `data` is, and its tag tree where it has one.

    Raises `FileError` with a sentence that says what the file is, if it is no RAW file LibRaw may open.
    """
    if not data:
        raise FileError("the file is empty (0 bytes)")
    for at, signature, container in _RAW_SIGNATURES:
        if data[at : at + len(signature)] == signature:
            return container, embedded_exif(data)
    if data[:2] in (b"II", b"MM") and data[2:4] in (b"*\0", b"\0*", b"RO", b"OR", b"RS", b"SR", b"U\0"):
        return _identify_tiff(data)
    if data[:3] == b"\xff\xd8\xff" and b"BRCM" in data[-(64 << 20) :]:
        return "Raspberry Pi JPEG with RAW", embedded_exif(data)
    raise FileError(f"this is {describe_other(data)}, not a RAW file; {_remedy(data)}")


def describe_other(data: bytes) -> str:
    """What a file without a RAW signature is, in words.

    >>> describe_other(b"hello, world" * 4)
    'text'
    """
    for at, signature, what in _OTHERS:
        if data[at : at + len(signature)] == signature:
            return what
    if not data.strip(b"\0"):
        return "nothing but zero bytes"
    head = data[:4096]
    printable = sum(32 <= b < 127 or b in b"\t\r\n" for b in head)
    return "text" if printable >= 0.97 * len(head) else "data without a known signature"


def _remedy(data: bytes) -> str:
    what = describe_other(data)
    if what == "data without a known signature" or what.startswith("nothing"):
        return _GEOMETRY
    return "give the camera's RAW file (DNG, NEF, CR2, ...)"


def _identify_tiff(data: bytes) -> tuple[str, TiffTree]:
    tree = read_tree(data)
    if tree is None:
        raise FileError("this is a TIFF-like file whose directory of tags is missing: truncated or damaged")
    main = tree.main
    if DNG_VERSION in main:
        return "DNG", tree
    if data[2:4] in (b"RO", b"OR", b"RS", b"SR"):
        return "Olympus ORF", tree
    if data[2:4] == b"U\0":
        return "Panasonic RW2", tree
    if data[8:12] in (b"IIII", b"MMMM"):
        return "Phase One IIQ", tree
    if MAKE not in main:
        raise FileError(f"this is a TIFF picture, not a RAW file; {_remedy(b'II*')}")
    if data[8:10] != b"CR" and len(tree.directories) == 1 and _is_plain(main):
        raise FileError(f"this is a TIFF picture of a camera, not its RAW file; {_remedy(b'II*')}")
    maker = " ".join(main.text(MAKE).split()[:1]).title() or "camera"
    return "Canon CR2" if data[8:10] == b"CR" else f"{maker} RAW (TIFF)", tree


def _is_plain(directory: Directory) -> bool:
    return directory.integer(PHOTOMETRIC, -1) in _PLAIN_PHOTOMETRIC


def embedded_exif(data: bytes) -> TiffTree | None:
    """The EXIF block inside a container that is no TIFF itself (RAF, CR3, JPEG); None if it has none."""
    head = data[: 4 << 20]
    for mark, skip in ((b"Exif\0\0", 6), (b"CMT1", 4)):
        at = head.find(mark)
        if at >= 0 and (tree := read_tree(head, at + skip)) is not None:
            return _with_cmt2(head, tree) if mark == b"CMT1" else tree
    return None


def _with_cmt2(head: bytes, tree: TiffTree) -> TiffTree:
    """Canon CR3 keeps the EXIF directory in a box of its own."""
    at = head.find(b"CMT2")
    exif = read_tree(head, at + 4) if at >= 0 else None
    return TiffTree(tree.directories, exif.main if exif else tree.exif)
