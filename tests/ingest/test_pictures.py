"""Pictures of every kind: upright pixels in the right colours, EXIF as columns, and what is not whole refused."""

import io
import json
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageOps
from PIL.TiffImagePlugin import IFDRational

from components.core.media import MediaError, decode_picture
from components.ingest import exif
from components.ingest.pictures import facts
from tests.footage import picture

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # Pillow on the EXIF damaged here

RGB = picture(1, 64, 48)
STILL = Image.fromarray(RGB)
LOSSLESS = {"PNG": {}, "TIFF": {"compression": "tiff_lzw"}, "WEBP": {"lossless": True}}


def encoded(image: Image.Image, form: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def looked_at(content: bytes, tmp_path) -> dict:
    path = tmp_path / "picture"
    path.write_bytes(content)
    return facts(path, lambda count: None)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_format_is_turned_upright(form, orientation, tmp_path):
    tags = Image.Exif()
    tags[ExifTags.Base.Orientation] = orientation
    content = encoded(STILL, form, exif=tags, **LOSSLESS.get(form, {"quality": 95}))
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB")
    assert (decode_picture(content) == np.asarray(upright)).all()
    found = looked_at(content, tmp_path)
    assert (found["width"], found["height"]) == upright.size
    assert found["orientation"] == orientation


def test_colours():
    """CMYK (as Adobe writes it, inverted) as Pillow reads it; alpha left out; 16 bits scaled, not clipped."""
    cmyk = encoded(STILL.convert("CMYK"), "JPEG", quality=95)
    theirs = np.asarray(Image.open(io.BytesIO(cmyk)).convert("RGB"))
    assert b"Adobe" in cmyk and np.abs(decode_picture(cmyk).astype(int) - theirs).max() <= 1
    alpha = STILL.convert("RGBA")
    alpha.putalpha(0)
    for form in ("PNG", "WEBP"):
        exact = {"lossless": True, "exact": True} if form == "WEBP" else {}
        assert (decode_picture(encoded(alpha, form, **exact)) == RGB).all()
    palette = STILL.convert("P")
    assert (decode_picture(encoded(palette, "PNG")) == np.asarray(palette.convert("RGB"))).all()
    for suffix in (".png", ".tiff"):
        deep = cv2.imencode(suffix, RGB[..., ::-1].astype(np.uint16) * 257)[1].tobytes()
        assert (decode_picture(deep) == RGB).all()
        grey = cv2.imencode(suffix, RGB[..., 0].astype(np.uint16) * 257)[1].tobytes()
        assert (decode_picture(grey) == RGB[..., :1]).all()


@pytest.mark.parametrize(
    ("form", "kind"), [("GIF", "frames"), ("PNG", "frames"), ("WEBP", "frames"), ("TIFF", "pages")]
)
def test_of_several_pictures_the_first_is_used(form, kind, tmp_path):
    path = tmp_path / "a"
    more = [Image.fromarray(picture(seed, 64, 48)) for seed in (2, 3)]
    STILL.save(path, form, save_all=True, append_images=more, **({"lossless": True} if form == "WEBP" else {}))
    found = facts(path, lambda count: None)
    assert found["reason"] == f"the first of 3 {kind}"
    single = looked_at(encoded(STILL, form, **LOSSLESS.get(form, {})), tmp_path)
    assert single["perceptual_hash"] == found["perceptual_hash"] and single["reason"] is None


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"])
def test_cut_anywhere_it_is_refused_or_whole(form, tmp_path):
    small = Image.fromarray(picture(4, 24, 16))
    content = encoded(small, form)
    whole = looked_at(content, tmp_path)
    for end in range(len(content) - 1):
        try:
            assert looked_at(content[: end + 1], tmp_path) == whole
            assert end > len(content) - 12
        except MediaError:
            continue


def test_a_png_that_fails_while_its_exif_is_read_is_refused(tmp_path):
    """Pillow decodes a PNG to look for EXIF behind its pixels; a second attempt to decode it would not fail."""
    content = bytearray(encoded(Image.fromarray(picture(1, 200, 150)), "PNG"))
    at = content.index(b"IDAT")
    content[at + 500] ^= 255
    with pytest.raises(MediaError):
        looked_at(bytes(content), tmp_path)


def test_a_marker_within_the_picture_is_damage(tmp_path):
    content = bytearray(encoded(STILL, "JPEG"))
    at = content.index(b"\xff\xda") + 100
    content[at : at + 2] = b"\xff\x48"
    with pytest.raises(MediaError, match="a marker 0x48 within the picture"):
        looked_at(bytes(content), tmp_path)


def test_pixels_are_counted_before_they_are_decoded(tmp_path):
    header = struct.pack(">4sIIBBBBB", b"IHDR", 50_000, 40_000, 8, 2, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    (tmp_path / "a").write_bytes(content + b"\0\0\0\0IDAT")
    seen = []
    with pytest.raises(MediaError):
        facts(tmp_path / "a", seen.append)
    assert seen == [2_000_000_000]


def test_columns_of_exif(tmp_path):
    tags = Image.Exif()
    tags[ExifTags.Base.Make], tags[ExifTags.Base.Model], tags[ExifTags.Base.Orientation] = "Maker\0", " M 1 ", 3
    tags.get_ifd(0x8769).update({
        ExifTags.Base.ExposureTime: IFDRational(1, 250), ExifTags.Base.FNumber: IFDRational(28, 10),
        ExifTags.Base.ISOSpeedRatings: 400, ExifTags.Base.FocalLength: IFDRational(35, 1),
        ExifTags.Base.LensModel: "L 35", ExifTags.Base.DateTimeOriginal: "2021:02:03 04:05:06",
        ExifTags.Base.OffsetTimeOriginal: "-03:30",
    })  # fmt: skip
    tags.get_ifd(0x8825).update(
        {1: "S", 2: (10.0, 30.0, 36.0), 3: "W", 4: (70.0, 0.0, 18.0), 5: b"\1", 6: IFDRational(25, 2)}
    )
    found = looked_at(encoded(STILL, "JPEG", exif=tags), tmp_path)
    assert (found["camera_make"], found["camera_model"], found["lens"]) == ("Maker", "M 1", "L 35")
    assert (found["exposure_s"], found["f_number"], found["iso"], found["focal_length_mm"]) == (1 / 250, 2.8, 400, 35)
    assert (found["latitude"], found["longitude"]) == pytest.approx((-10.51, -70.005))
    assert (found["altitude_m"], found["orientation"]) == (-12.5, 3)
    assert found["captured_at"] == "2021-02-03T04:05:06-03:30"
    assert json.loads(found["exif"])["FNumber"] == "14/5"
    bare = looked_at(encoded(STILL, "JPEG"), tmp_path)
    assert bare["exif"] is None and all(bare[name] is None for name in exif.columns({}))


@pytest.mark.parametrize(
    ("tags", "column"),
    [
        ({"ExposureTime": "1/0"}, "exposure_s"),
        ({"ExposureTime": "0/1"}, "exposure_s"),
        ({"FNumber": "fast"}, "f_number"),
        ({"FNumber": [None]}, "f_number"),
        ({"ISOSpeedRatings": []}, "iso"),
        ({"ISOSpeedRatings": 0}, "iso"),
        ({"Orientation": 9}, "orientation"),
        ({"Orientation": "upright"}, "orientation"),
        ({"Make": 7}, "camera_make"),
        ({"GPSLatitude": [10, 20, 30]}, "latitude"),  # of which side of the equator?
        ({"GPSLatitude": [91, 0, 0], "GPSLatitudeRef": "N"}, "latitude"),
        ({"GPSLongitude": [10, "1/0", 0], "GPSLongitudeRef": "E"}, "longitude"),
        ({"GPSLongitude": "x", "GPSLongitudeRef": "E"}, "longitude"),
        ({"GPSAltitude": "1/0"}, "altitude_m"),
        ({"DateTimeOriginal": "0000:00:00 00:00:00"}, "captured_at"),
        ({"DateTime": "2021:02:30 00:00:00"}, "captured_at"),
    ],
)
def test_values_that_make_no_sense_are_left_out(tags, column):
    assert exif.columns(tags)[column] is None


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12) | st.from_regex(r"-?\d{1,40}/\d{1,40}")
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda part: st.lists(part, max_size=4),
    max_leaves=6,
)  # fmt: skip
NAMES = (
    "ExposureTime FNumber ISOSpeedRatings FocalLength Orientation Make DateTime GPSLatitude GPSLatitudeRef "
    "GPSLongitude GPSLongitudeRef GPSAltitude GPSAltitudeRef LensModel DateTimeOriginal OffsetTime"
).split()


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES), values))
def test_whatever_the_tags_hold_columns_come_back(tags):
    found = exif.columns(tags)
    assert set(found) == set(exif.columns({}))
    assert found["iso"] is None or 0 < found["iso"] < 2**31
    assert found["latitude"] is None or abs(found["latitude"]) <= 90


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_exif_block_never_fails_a_picture(tmp_path_factory, data):
    tags = Image.Exif()
    tags[ExifTags.Base.Make] = "Maker"
    tags.get_ifd(0x8769).update({ExifTags.Base.ExposureTime: IFDRational(1, 250), ExifTags.Base.LensModel: "L"})
    tags.get_ifd(0x8825).update({1: "S", 2: (10.0, 30.0, 36.0)})
    content = bytearray(encoded(STILL, "JPEG", exif=tags))
    start = content.index(b"Exif\0\0") + 6
    length = int.from_bytes(content[content.index(b"Exif\0\0") - 2 :][:2], "big") - 8
    for _ in range(data.draw(st.integers(1, 4))):
        content[start + data.draw(st.integers(0, length - 1))] = data.draw(st.integers(0, 255))
    found = looked_at(bytes(content), tmp_path_factory.getbasetemp())
    assert found["width"] * found["height"] == 64 * 48
    json.dumps(found, allow_nan=False)
