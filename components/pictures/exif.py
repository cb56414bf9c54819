"""What a camera writes beside its pixels."""

from datetime import datetime

from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational

Base, Gps = ExifTags.Base, ExifTags.GPS
# (maker, model, lens, focal length in mm, f-number)
MODELS = (
    ("Fieldlark", "FL-220", "FL 6.2 mm f/2.4", IFDRational(62, 10), IFDRational(24, 10)),
    ("Fieldlark", "FL-300 IR", "FL 5.0 mm f/2.0", IFDRational(50, 10), IFDRational(20, 10)),
    ("Kestrel Optics", "TrailEye 8", "TE wide 4.3 mm f/2.8", IFDRational(43, 10), IFDRational(28, 10)),
)


def exif(
    number: int,
    taken: datetime,
    offset: str,
    orientation: int,
    place: tuple[float, float, float],
    exposure: tuple[int, int],
) -> Image.Exif:
    """The EXIF of one picture of site `number`. place: latitude, longitude, metres; exposure: 1/n seconds, ISO."""
    make, model, lens, focal, stop = MODELS[number % len(MODELS)]
    when = taken.strftime("%Y:%m:%d %H:%M:%S")
    tags = Image.Exif()
    tags[Base.Make], tags[Base.Model], tags[Base.Orientation] = make, model, orientation
    tags[Base.Software], tags[Base.DateTime] = f"{model} 1.4", when
    camera = tags.get_ifd(ExifTags.IFD.Exif)
    camera.update({
        Base.ExposureTime: IFDRational(1, exposure[0]), Base.FNumber: stop, Base.ISOSpeedRatings: exposure[1],
        Base.DateTimeOriginal: when, Base.DateTimeDigitized: when, Base.OffsetTime: offset,
        Base.OffsetTimeOriginal: offset, Base.FocalLength: focal, Base.LensModel: lens,
        Base.Flash: 16 if exposure[1] < 800 else 25,
    })  # fmt: skip
    latitude, longitude, metres = place
    tags.get_ifd(ExifTags.IFD.GPSInfo).update({
        Gps.GPSLatitudeRef: "N" if latitude >= 0 else "S", Gps.GPSLatitude: _angle(latitude),
        Gps.GPSLongitudeRef: "E" if longitude >= 0 else "W", Gps.GPSLongitude: _angle(longitude),
        Gps.GPSAltitudeRef: b"\x00", Gps.GPSAltitude: IFDRational(round(metres * 10), 10),
    })  # fmt: skip
    return tags


def _angle(degrees: float) -> tuple[IFDRational, IFDRational, IFDRational]:
    """Degrees, minutes, seconds to a hundredth."""
    hundredths = round(abs(degrees) * 360_000)
    return (
        IFDRational(hundredths // 360_000), IFDRational(hundredths // 6000 % 60), IFDRational(hundredths % 6000, 100),
    )  # fmt: skip
