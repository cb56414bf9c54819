"""From a request to pictures and what is asked of them, with every limit checked before the work that it limits."""

import io
from collections.abc import AsyncIterator
from dataclasses import dataclass

import numpy as np
from PIL import Image, UnidentifiedImageError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from components.core.bundle import Bundle
from components.core.media import MediaError, decode_picture

FIELD, LEAST = "picture", "min_score"
FORMATS = {"JPEG": "JPEG", "MPO": "JPEG", "PNG": "PNG", "WEBP": "WebP", "BMP": "BMP"}  # MPO: what many cameras write
RAW_TYPES = ("image/", "application/octet-stream")
DIGITS = 18  # of a length in bytes that is taken for a number
HOW = f"send one picture as the body, or form fields named `{FIELD}`"

Image.MAX_IMAGE_PIXELS = None  # the service's own limit holds, and answers with its own words


@dataclass(frozen=True)
class Limits:
    """Of one request: bytes of its body, pictures in it, pixels of one picture, and of all together: a picture of a
    hundred kilobytes may have as many as are allowed, and take a second to decode."""

    body_bytes: int = 10_000_000
    pictures: int = 32
    pixels: int = 40_000_000
    all_pixels: int = 120_000_000


class Refusal(Exception):
    """A request that is not served: HTTP status, what is wrong, what to do.

    `reason`: a word for the metrics where the status alone does not say it; `retry_s`: of a 429 or 503, when to come
    back.
    """

    def __init__(self, status: int, error: str, remedy: str, reason: str | None = None, retry_s: int = 1):
        super().__init__(error)
        self.status, self.error, self.remedy, self.reason, self.retry_s = status, error, remedy, reason, retry_s


def least_score(request: Request, bundle: Bundle) -> float | None:
    """The score from which a request asks for boxes, of `?min_score=`; None where it does not say.

    Raises Refusal (400) where it is no number from 0 to 1, and where the bundle's model finds no boxes.
    """
    given = request.query_params.getlist(LEAST)
    if not given:
        return None
    if not bundle.finds_boxes:
        raise Refusal(400, f"{LEAST}: {bundle.recipe}'s model finds no boxes", f"leave {LEAST} out")
    try:
        (least,) = map(float, given)
    except ValueError:
        least = -1.0
    if not 0 <= least <= 1:
        raise Refusal(400, f"{LEAST}={','.join(given)} is not one number from 0 to 1", f"send {LEAST}=0.3 for example")
    return least


async def read_pictures(request: Request, limits: Limits) -> list[bytes]:
    """The encoded pictures of a request: its body, or the parts of a form. Raises Refusal (400, 413, 415).

    Reads no further than the limit, whatever the request says of its length.
    """
    kind = content_type(request)
    if kind == "multipart/form-data":
        _check_declared(request, limits)
        return await _parts(request, limits)
    if not kind.startswith(RAW_TYPES):
        raise Refusal(415, f"content type {kind or 'missing'} is not served", f"{HOW}, as image/jpeg for example")
    return [await read_body(request, limits, HOW)]


def content_type(request: Request) -> str:
    """The content type of a request's body, without parameters; empty where it does not say."""
    return request.headers.get("content-type", "").split(";")[0].strip().lower()


async def read_body(request: Request, limits: Limits, remedy: str) -> bytes:
    """The body of a request. Raises Refusal (413; 400 with this remedy where it is empty).

    Reads no further than the limit, whatever the request says of its length.
    """
    _check_declared(request, limits)
    content = b"".join([chunk async for chunk in _limited(request, limits)])
    if not content:
        raise Refusal(400, "the body is empty", remedy)
    return content


def _check_declared(request: Request, limits: Limits) -> None:
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and (len(declared) > DIGITS or int(declared) > limits.body_bytes):
        raise too_large(limits)


async def _limited(request: Request, limits: Limits) -> AsyncIterator[bytes]:
    read = 0
    async for chunk in request.stream():
        read += len(chunk)
        if read > limits.body_bytes:
            raise too_large(limits)
        yield chunk


def too_large(limits: Limits) -> Refusal:
    """The refusal of what has too many bytes."""
    return Refusal(
        413, f"the body is larger than {limits.body_bytes} bytes", "send fewer or smaller pictures in one request"
    )


class _InMemory(MultiPartParser):
    """Parts stay in memory, which the limit on the body bounds; nothing a stranger sends is written to disk."""

    spool_max_size = 0  # SpooledTemporaryFile's word for: never roll over to disk


async def _parts(request: Request, limits: Limits) -> list[bytes]:
    # One file more than the limit is let through, so that the answer can say what the limit is.
    parser = _InMemory(request.headers, _limited(request, limits), max_files=limits.pictures + 1, max_fields=0)
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError) as error:
        raise Refusal(400, f"the form cannot be read: {getattr(error, 'message', error)}", HOW) from None
    try:
        parts = form.multi_items()
        for name, part in parts:
            if name != FIELD or not isinstance(part, UploadFile):
                raise Refusal(400, f"the form has a field {name!r}", HOW)
        if len(parts) > limits.pictures:
            raise Refusal(413, f"more than {limits.pictures} pictures", "send fewer pictures in one request")
        if not parts:
            raise Refusal(400, "the form holds no picture", HOW)
        return [await part.read() for _, part in parts]
    finally:
        await form.close()


def decode(content: bytes, limits: Limits) -> np.ndarray:
    """A picture's pixels, (H, W, 3) uint8 RGB. Raises Refusal (400, 413, 415).

    The size is read from the header first: a few bytes can claim gigabytes of pixels.
    """
    accepted = f"send {', '.join(sorted(set(FORMATS.values())))}"
    try:
        with Image.open(io.BytesIO(content)) as header:
            kind, (width, height) = header.format, header.size
    except UnidentifiedImageError:
        raise Refusal(400, "not a picture", accepted) from None
    except Exception as error:  # a parser of strangers' bytes may fail in any way; all of them mean this
        raise Refusal(400, f"the picture's header cannot be read ({error})", accepted) from None
    if kind not in FORMATS:
        raise Refusal(415, f"pictures in {kind} format are not served", accepted)
    if width * height > limits.pixels:
        raise Refusal(413, f"{width} x {height} pixels are more than {limits.pixels}", "scale the picture down")
    try:
        return decode_picture(content)
    except MediaError as error:
        raise Refusal(400, str(error), "see that the file is whole") from None
