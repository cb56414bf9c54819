"""From what a client sends to frames to be followed, with every limit checked before the work that it limits.

The payload is that of the post "Train and deploy a FairMOT model with Amazon SageMaker": one frame,

    {"frame_id": 7, "frame_data": BASE64, "frame_w": 1920, "frame_h": 1080, "batch_size": 1, "session": NAME}

or several: `frame_data` a list of `batch_size` pictures whose numbers count up from `frame_id`, or `frames`, a list of
{frame_id, frame_data, frame_w, frame_h}. What is not said of size, batch or session is not checked.
"""

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass

import numpy as np

from components.serving.jsonbody import parsed
from components.serving.pictures import Limits, Refusal, decode, too_large

FRAME = ("frame_id", "frame_data", "frame_w", "frame_h")
ONE, SEVERAL = (*FRAME, "batch_size", "session"), ("frames", "batch_size", "session")
LAST_ID = 2**53 - 1  # the last whole number that every JSON reader knows
NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
HOW = "send {frame_id, frame_data, frame_w, frame_h}, see /docs"


@dataclass(frozen=True)
class Sent:
    """A frame as it was sent: its number (None: the next one), the encoded picture, width and height that it is said to
    have (None: not said)."""

    frame_id: int | None
    content: bytes
    width: int | None = None
    height: int | None = None


@dataclass(frozen=True)
class Ready:
    """A frame ready to be looked at: its number (None: the next one), the digest of the encoded picture, its (height,
    width), and its pixels as the model takes them."""

    frame_id: int | None
    digest: bytes
    size: tuple[int, int]
    picture: np.ndarray


@dataclass(frozen=True)
class Payload:
    """The session that is named, if any; the frames; whether they were sent as a list."""

    session: str | None
    frames: list[Sent]
    listed: bool


def parse(body: bytes | str, limits: Limits) -> Payload:
    """What a JSON body asks for. Raises Refusal (400, 413), naming the field."""
    given = parsed(body, "the payload", HOW)
    _check_fields(given, SEVERAL if isinstance(given, dict) and "frames" in given else ONE, "the payload ")
    session = given.get("session")
    if session is not None:
        check_name(session)
    if "frames" in given:
        frames, listed = given["frames"], True
        if not isinstance(frames, list) or not frames:
            raise Refusal(400, "frames is not a list of at least one frame", HOW)
        _check_count(frames, limits)
        for place, one in enumerate(frames):
            _check_fields(one, FRAME, _where(place, frames) or "the frame ")
    else:
        frames, listed = _counted(given, limits), isinstance(given.get("frame_data"), list)
    size = given.get("batch_size")
    if size is not None and (type(size) is not int or size != len(frames)):
        raise Refusal(400, f"batch_size is not {len(frames)}, the number of frames", "leave it out, or correct it")
    return Payload(session, [_sent(one, _where(place, frames)) for place, one in enumerate(frames)], listed)


def ready(payload: Payload, model, limits: Limits) -> list[Ready]:
    """The frames decoded and prepared for the model. Raises Refusal (400, 413, 415), naming the frame.

    Each is scaled down at once, so that a request of many frames never holds them all in full size.
    """
    made = []
    for place, sent in enumerate(payload.frames):
        where = _where(place, payload.frames)
        try:
            rgb = decode(sent.content, limits)
        except Refusal as refusal:
            raise Refusal(refusal.status, where + refusal.error, refusal.remedy) from None
        height, width = rgb.shape[:2]
        if sent.width not in (None, width) or sent.height not in (None, height):
            said = f"frame_w {sent.width}, frame_h {sent.height}"
            raise Refusal(
                400, f"{where}the picture has {width} x {height} pixels, not {said}", "send the picture's own size"
            )
        made.append(Ready(sent.frame_id, hashlib.sha256(sent.content).digest(), (height, width), model.prepare(rgb)))
    return made


def check_name(name: object) -> str:
    """A session's name, if it can be one. Raises Refusal (400)."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise Refusal(400, "session is no name", "name it with 1 to 64 letters, digits, dots, dashes and underscores")
    return name


def check_length(message: bytes | str, limits: Limits) -> None:
    """Raises Refusal (413) for a message that is larger than a request's body may be."""
    if len(message) > limits.body_bytes:
        raise too_large(limits)


def _check_fields(given: object, known: tuple[str, ...], what: str) -> None:
    if not isinstance(given, dict):
        raise Refusal(400, f"{what}is not a JSON object", HOW)
    unknown = [name for name in given if name not in known]
    if unknown:
        raise Refusal(400, f"{what}has a field {unknown[0][:64]!r}", f"known here: {', '.join(known)}")


def _check_count(frames: list, limits: Limits) -> None:
    if len(frames) > limits.pictures:
        raise Refusal(413, f"more than {limits.pictures} frames", "send fewer frames in one request")


def _counted(given: dict, limits: Limits) -> list[dict]:
    """The frames of a payload without `frames`: of a list of pictures, one each, their numbers counted up."""
    data = given.get("frame_data")
    if not isinstance(data, list):
        return [given]
    if not data:
        raise Refusal(400, "frame_data is a list of no pictures", HOW)
    _check_count(data, limits)
    first = _whole(given.get("frame_id"), "frame_id", 0)
    return [given | {"frame_data": one, "frame_id": first + place} for place, one in enumerate(data)]


def _sent(one: dict, where: str) -> Sent:
    for name in ("frame_id", "frame_data"):
        if one.get(name) is None:
            raise Refusal(400, f"{where}{name} is missing", HOW)
    width, height = (
        None if one.get(name) is None else _whole(one[name], where + name, 1) for name in ("frame_w", "frame_h")
    )
    return Sent(_whole(one["frame_id"], f"{where}frame_id", 0), _picture(one["frame_data"], where), width, height)


def _picture(data: object, where: str) -> bytes:
    if not isinstance(data, str) or not data:
        raise Refusal(400, f"{where}frame_data is no base64 text", HOW)
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refusal(400, f"{where}frame_data is not base64 ({error})", HOW) from None


def _whole(value: object, name: str, least: int) -> int:
    if type(value) is not int or not least <= value <= LAST_ID:
        raise Refusal(400, f"{name} is not a whole number from {least} on", "see /docs")
    return value


def _where(place: int, frames: list) -> str:
    return f"frame {place + 1} of {len(frames)}: " if len(frames) > 1 else ""
