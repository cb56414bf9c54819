"""Media files spoiled on purpose, from seeds: cut, bits flipped, misnamed, with headers that lie."""

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational

from tests.footage import picture, write_clip

CONTAINERS = b"moov trak mdia minf stbl edts dinf udta".split()


@dataclass(frozen=True)
class Mutant:
    """`base`: the sound file it was made of; `how`: cut, flip, name or lie; `content`: its bytes.

    Names sort after those of the sound files, which are therefore the assets where the bytes are the same.
    """

    name: str
    base: str
    how: str
    content: bytes


def write_bases(folder: Path) -> dict[str, bytes]:
    """Small sound files of many kinds, written to `folder`: name -> bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    stills = [Image.fromarray(picture(seed, 64, 48)) for seed in range(12)]
    alpha = stills[4].convert("RGBA")
    alpha.putalpha(stills[5].convert("L"))
    deep = picture(6, 64, 48).astype(np.uint16) * 257
    exif = Image.Exif()
    exif[ExifTags.Base.Make], exif[ExifTags.Base.Orientation] = "Maker", 6
    exif.get_ifd(0x8769).update({ExifTags.Base.ExposureTime: IFDRational(1, 60), ExifTags.Base.ISOSpeedRatings: 400})
    exif.get_ifd(0x8825).update({1: "S", 2: (41.0, 24.0, 12.5), 5: b"\1", 6: IFDRational(31, 2)})
    stills[0].save(folder / "plain.jpg")
    stills[5].save(folder / "camera.jpg", exif=exif)
    stills[6].save(folder / "camera.webp", exif=exif)
    stills[7].save(folder / "camera.tif", exif=exif)
    stills[1].save(folder / "progressive.jpg", progressive=True)
    stills[2].convert("CMYK").save(folder / "cmyk.jpg")
    stills[3].save(folder / "still.png")
    alpha.save(folder / "alpha.png")
    cv2.imwrite(str(folder / "deep.png"), deep)
    stills[7].convert("P").save(folder / "palette.png")
    stills[8].save(folder / "animated.png", save_all=True, append_images=stills[:2])
    stills[9].save(folder / "animated.gif", save_all=True, append_images=stills[:2])
    stills[10].save(folder / "animated.webp", save_all=True, append_images=stills[:2])
    stills[11].save(folder / "still.tif", compression="tiff_lzw")
    stills[0].rotate(90).save(folder / "still.bmp")
    stills[1].rotate(90).save(folder / "several.mpo.jpg", "MPO", save_all=True, append_images=stills[:2])
    small = {"frames": 10, "size": (64, 48), "g": "5"}
    write_clip(folder / "late.mp4", seed=20, **small)
    write_clip(folder / "early.mp4", seed=21, container={"movflags": "faststart"}, **small)
    write_clip(folder / "parts.mp4", seed=22, container={"movflags": "frag_keyframe+empty_moov"}, **small)
    write_clip(folder / "matroska.mkv", seed=23, **small)
    write_clip(folder / "old.avi", codec="mpeg4", seed=24, **small)
    write_clip(folder / "programme.mpg", codec="mpeg2video", seed=25, **small)
    write_clip(folder / "quick.mov", codec="mpeg4", seed=26, **small)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def mutants(bases: dict[str, bytes], count: int, seed: int = 0) -> list[Mutant]:
    """`count` spoiled files: every lie, misnaming and cut at a box first, bit flips and random cuts to fill up."""
    random = np.random.default_rng(seed)
    made = [*_lies(bases), *_misnamed(bases), *_cuts_at_boxes(bases)]
    names = sorted(bases)
    while len(made) < count:
        base = names[len(made) % len(names)]
        content = bytearray(bases[base])
        if len(made) % 3:
            for at in random.integers(0, len(content), random.integers(1, 9)):
                content[at] ^= 1 << random.integers(8)
            made.append(_mutant(base, "flip", len(made), bytes(content)))
        else:
            made.append(_mutant(base, "cut", len(made), bytes(content[: random.integers(1, len(content))])))
    return made[:count]


def _mutant(base: str, how: str, number: int, content: bytes, suffix: str = "") -> Mutant:
    return Mutant(f"z-{how}-{number:03d}-{Path(base).stem}{suffix or Path(base).suffix}", base, how, content)


def boxes(content: bytes, first: int = 0, end: int | None = None) -> Iterator[tuple[bytes, int, int]]:
    """(name, start, end) of the boxes of an MP4 and of the boxes in them."""
    end = len(content) if end is None else end
    while first + 8 <= end:
        size, name = struct.unpack_from(">I4s", content, first)
        size = size if size >= 8 else end - first
        yield name, first, min(first + size, end)
        if name in CONTAINERS:
            yield from boxes(content, first + 8, min(first + size, end))
        first += size


def _cuts_at_boxes(bases: dict[str, bytes]) -> Iterator[Mutant]:
    """Cut in the head and in the middle of the first box of every kind, likewise of PNG chunks and JPEG segments."""
    number = 0
    for base, content in bases.items():
        starts = {}
        if base.endswith((".mp4", ".mov")):
            for name, start, end in boxes(content):
                starts.setdefault(name, (start, end))
        elif base.endswith(".png"):
            at = 8
            while at < len(content):
                length = int.from_bytes(content[at : at + 4], "big")
                starts.setdefault(content[at + 4 : at + 8], (at, at + 12 + length))
                at += 12 + length
        elif base.endswith(".jpg"):
            at = 2
            while at < len(content) and content[at + 1] != 0xDA:
                length = int.from_bytes(content[at + 2 : at + 4], "big")
                starts.setdefault(content[at + 1], (at, at + 2 + length))
                at += 2 + length
        for start, end in starts.values():
            for cut in {start + 4, (start + end) // 2}:
                yield _mutant(base, "cut", number, content[:cut])
                number += 1


def _misnamed(bases: dict[str, bytes]) -> Iterator[Mutant]:
    """Every file under the names of some others' kinds."""
    for number, (base, content) in enumerate(bases.items()):
        suffixes = [".jpg", ".mp4", ".png", ".avi", ".webp", ".mpg"]
        for suffix in (suffixes[number % 6], suffixes[(number + 1) % 6]):
            if suffix != Path(base).suffix:
                yield _mutant(base, "name", number, content, suffix)


def _lies(bases: dict[str, bytes]) -> Iterator[Mutant]:
    """Headers that declare no frame rate, no time scale, no size, or a huge one."""
    number = 0

    def lie(base: str, at: int, *values: int, form: str = ">I") -> Iterator[Mutant]:
        nonlocal number
        for value in values:
            content = bytearray(bases[base])
            struct.pack_into(form, content, at, value)
            number += 1
            yield _mutant(base, "lie", number, bytes(content))

    wild = (0, 1, 0x7FFFFFFF, 0xFFFFFFFF)
    for base in ("early.mp4", "late.mp4"):
        content = bases[base]
        yield from lie(base, content.index(b"mvhd") + 16, *wild)  # time scale
        yield from lie(base, content.index(b"mdhd") + 16, *wild)
        yield from lie(base, content.index(b"stts") + 16, *wild)  # a frame's duration
        yield from lie(base, content.index(b"stts") + 8, *wild)  # entries
        yield from lie(base, content.index(b"stsz") + 12, *wild)  # frames
        yield from lie(base, content.index(b"stco") + 8, *wild)
        yield from lie(base, content.index(b"avc1") + 28, 0, 0xFFFFFFFF)  # width and height
        yield from lie(base, content.index(b"moov") - 4, 0, 7, 0xFFFFFFFF)  # a box's size
    avi = bases["old.avi"]
    for at in (avi.index(b"avih") + 8, avi.index(b"strh") + 28, avi.index(b"strh") + 32, avi.index(b"strf") + 12):
        yield from lie("old.avi", at, *wild, form="<I")
    for base, at, form in (
        ("plain.jpg", bases["plain.jpg"].index(b"\xff\xc0") + 5, ">I"),  # height and width
        ("animated.gif", 6, "<I"),
        ("still.bmp", 18, "<I"),
        ("still.bmp", 22, "<I"),
        ("animated.webp", 24, "<I"),
    ):
        yield from lie(base, at, 0, 0xFFFFFFFF, 0x00FFFFFF, form=form)
    for width, height in ((0, 0), (1, 0x7FFFFFFF), (100_000, 100_000), (14_000, 14_000), (64, 4096)):
        yield _mutant("still.png", "lie", number := number + 1, _png(bases["still.png"], width, height))
    buffer = io.BytesIO()
    Image.new("1", (5_000, 5_000)).save(buffer, "PNG")  # what it says is true, and within the limits
    yield Mutant("z-lie-999-wide.png", "z-lie-999-wide.png", "lie", buffer.getvalue())


def _png(content: bytes, width: int, height: int) -> bytes:
    """A PNG with another size in its header, whose checksum is right."""
    header = b"IHDR" + struct.pack(">II", width, height) + content[24:29]
    return content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:]
