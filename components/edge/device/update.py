"""From a signed release to the one that runs: fetched aside, checked, tried on its own pictures, switched to."""

import http.client
import logging
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from urllib.parse import urljoin

from components.core.errors import SightlineError, TransientError
from components.core.files import CHUNK, file_sha256
from components.edge.device.installed import INCOMING, Installed
from components.edge.device.offer import LARGEST, Offer, opened
from components.edge.device.release import read_release, unpack

SELFTEST_S = 600
TIMEOUT_S = 60

log = logging.getLogger("sightline.edge")


def update(
    installed: Installed, where: str, public_key: str, force: bool = False, precision: str = "auto"
) -> int | None:
    """Brings the device to the release that `where` offers, a release.json by address or path.

    Returns its number, or None where it runs already. Raises TransientError where it cannot be fetched, SightlineError
    where it is refused: not signed by the key, for another recipe, no newer than what was accepted before (a downgrade
    or a replay), expired, damaged, or failing its own test, which the graph is put to that a device of this `precision`
    runs. `force` takes another recipe and an older number; nothing else.
    """
    offer = opened(_read(where, LARGEST), public_key, where)
    if offer.release == installed.release:  # nothing is unpacked over what runs, whatever is forced
        return None
    if offer.expires and time.time() > offer.expires:
        raise SightlineError(
            f"{where}: release {offer.release} has expired: an old one, held back or sent again",
            "renew it: sightline edge release, of the same archive under the same number; or set this device's clock",
        )
    running = read_release(installed.folder).manifest
    here, version = running["recipe"], running["version"]
    if not force:
        if not installed.highest and offer.recipe == here and offer.version < version:
            raise SightlineError(
                f"{where}: version {offer.version} is older than {version}, which this device was installed with",
                "take --force if it is meant",
            )
        if offer.release <= installed.highest:
            raise SightlineError(
                f"{where}: release {offer.release} is not newer than {installed.highest}, accepted or refused before: "
                "a downgrade or a replay",
                "sign it under a larger number, or take --force",
            )
        if offer.recipe != here:
            raise SightlineError(
                f"{where}: is of {offer.recipe}, this device runs {here}", "take --force if it is meant"
            )
    archive = _fetched(installed.state / INCOMING, where, offer)
    folder = installed.place(offer.release)
    try:
        manifest = unpack(archive, folder).manifest
        told = (manifest["recipe"], manifest["version"], manifest["digest"])
        if told != (offer.recipe, offer.version, offer.digest):
            raise SightlineError(f"{where}: the archive is another than was signed for", "make the release anew")
        _selftest(folder, precision)
    except TransientError:
        raise
    except SightlineError:
        if installed.release != offer.release:
            shutil.rmtree(folder, ignore_errors=True)
        installed.refuse(offer.release)
        raise
    finally:
        shutil.rmtree(installed.state / INCOMING, ignore_errors=True)
    installed.switch(offer.release)
    return offer.release


def environment(folder: Path) -> dict[str, str]:
    """What a process that runs a release finds: its own code first, and no bytecode written beside it."""
    return os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}


def _selftest(folder: Path, precision: str) -> None:
    """By the new release's own code, in a process of its own: also what cannot even start is found out."""
    command = [sys.executable, "-m", "edge", "selftest", *([] if precision == "auto" else ["--precision", precision])]
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=SELFTEST_S
        )
    except subprocess.TimeoutExpired:
        raise TransientError(f"{folder}: its self-test did not end in {SELFTEST_S} s", "it is tried again") from None
    if done.returncode < 0:  # somebody ended it: the memory was short, perhaps, which is not the release's fault
        raise TransientError(f"{folder}: its self-test was ended by signal {-done.returncode}", "it is tried again")
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-1000:]
        raise SightlineError(f"{folder}: its self-test ended with {done.returncode}: {said}", "stay with this one")


def _fetched(folder: Path, where: str, offer: Offer) -> Path:
    """The archive in a side folder; what a lost link left of the same one is gone on with."""
    target = folder / f"{offer.sha256}.tar.gz"
    folder.mkdir(parents=True, exist_ok=True)
    for other in folder.iterdir():
        if other != target:
            other.unlink()
    have = target.stat().st_size if target.exists() else 0
    if have < offer.bytes:
        address = urljoin(where, offer.archive) if "://" in where else str(Path(where).with_name(offer.archive))
        _download(address, target, have, offer.bytes)
    if target.stat().st_size < offer.bytes:
        raise TransientError(f"{where}: the archive broke off", "try again: it is gone on with")
    if target.stat().st_size != offer.bytes or file_sha256(target) != offer.sha256:
        target.unlink()
        raise SightlineError(
            f"{where}: the archive's bytes are not those that were signed", "publish the release again"
        )
    return target


def _download(address: str, target: Path, have: int, size: int) -> None:
    try:
        with _open(address, have) as source, open(target, "ab") as file:
            if have and getattr(source, "status", None) != http.client.PARTIAL_CONTENT:
                file.truncate(0)  # the server does not know parts
            while block := source.read(CHUNK):
                file.write(block)
                if file.tell() > size:  # whatever it is, it is not what was signed
                    return
    except (OSError, http.client.HTTPException) as error:
        raise TransientError(f"{address}: cannot be fetched: {error}", "try again when the link is back") from None


def _open(address: str, have: int = 0):
    if "://" not in address:
        return open(address, "rb")
    headers = {"Range": f"bytes={have}-"} if have else {}
    return urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=TIMEOUT_S)


def _read(where: str, limit: int) -> bytes:
    try:
        with _open(where) as source:
            content = source.read(limit)
            if getattr(source, "length", None):  # what is still to come: a reply that broke off raises nothing
                raise OSError("it broke off")
            return content
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise TransientError(f"{where}: cannot be fetched: {error}", "try again when the link is back") from None
