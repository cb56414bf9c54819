"""A signed release: release.json names an archive by its digest, and whoever has the key signs that.

    {"format": 1, "signed": "<JSON text>", "signature": "<base64 of Ed25519 over the text's bytes>"}

The text holds release (a number that only grows), recipe, version, digest, and of the archive its name beside this file
(archive), sha256 and bytes; and, where it is not for ever, until when it is taken (expires, seconds since 1970): a
device that knows no number yet could be shown an old one for ever by whoever stands between it and the releases.
"""

import base64
import binascii
import json
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from components.core.errors import SightlineError

FORMAT = 1
EXPIRES = "expires"
FILE = "release.json"
LARGEST = 1 << 20  # bytes of a release.json
MAKE = "make it with `sightline edge release`"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Offer:
    """What is signed."""

    release: int
    recipe: str
    version: int
    digest: str
    archive: str
    sha256: str
    bytes: int
    expires: int = 0  # 0: never


def sealed(offer: Offer, private_pem: bytes) -> dict:
    """The content of release.json, signed by this private key (PKCS 8, PEM). Raises SightlineError."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    # What does not expire is of the form that all releases know.
    text = json.dumps(
        {name: value for name, value in asdict(offer).items() if name != EXPIRES or value}, sort_keys=True
    )
    try:
        signature = load_pem_private_key(private_pem, None).sign(text.encode())
    except (ValueError, TypeError) as error:
        raise SightlineError(f"not an Ed25519 private key: {error}", "make one with `sightline edge key`") from None
    return {"format": FORMAT, "signed": text, "signature": base64.b64encode(signature).decode()}


def opened(content: bytes, public_key: str, origin: str) -> Offer:
    """The offer in the bytes of a release.json, if its signature is that of `public_key` (base64 of 32 bytes).

    Raises SightlineError: nothing is believed of what is not signed.
    """
    # Not before it is needed: the runner itself does without.
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if not public_key:
        raise SightlineError(f"{origin}: no key is known here to check it by", "set [update] public_key in config.toml")
    try:
        body = json.loads(content)
        text, signature = body["signed"].encode(), base64.b64decode(body["signature"], validate=True)
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error) as error:
        raise SightlineError(f"{origin}: is no signed release: {error!r}", MAKE) from None
    try:
        Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key)).verify(signature, text)
    except InvalidSignature:
        raise SightlineError(
            f"{origin}: its signature is not that of the key known here", "sign it with the fleet's key"
        ) from None
    except (ValueError, binascii.Error) as error:
        raise SightlineError(f"[update] public_key is none: {error}", "see what `sightline edge key` printed") from None
    return _parsed(text, origin)


def _parsed(text: bytes, origin: str) -> Offer:
    body = {EXPIRES: 0} | json.loads(text)
    wanted = {one.name: one.type for one in fields(Offer)}
    if set(body) != set(wanted) or any(type(body[name]) is not kind for name, kind in wanted.items()):
        raise SightlineError(f"{origin}: is of another form than this release knows", "update by hand, in between")
    offer = Offer(**body)
    if offer.release < 1 or not _NAME.fullmatch(offer.archive) or not re.fullmatch(r"[0-9a-f]{64}", offer.sha256):
        raise SightlineError(f"{origin}: names no release", MAKE)
    return offer


def public_key_of(private_pem: bytes) -> str:
    """The public key of a private one: base64 of its 32 bytes, as config.toml has it. Raises SightlineError."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    try:
        key = load_pem_private_key(private_pem, None).public_key()
    except (ValueError, TypeError) as error:
        raise SightlineError(f"not a private key: {error}", "make one with `sightline edge key`") from None
    return base64.b64encode(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()


def read_key(path: Path) -> bytes:
    """The bytes of a private key's file. Raises SightlineError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise SightlineError(f"{path}: cannot be read: {error}", "make one with `sightline edge key -o FILE`") from None
