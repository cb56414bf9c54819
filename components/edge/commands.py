"""Edge bundles, on the side of the workspace: build, key, release, receive, fleet, run."""

import argparse
import base64
import os
import sys
import time
from pathlib import Path

from components.core import paths
from components.core.errors import SightlineError, UsageError
from components.core.files import atomic_bytes, atomic_json, file_sha256, json_text, link_or_copy, read_json
from components.core.recipe import load_recipe
from components.core.stage import guarded
from components.edge.device.installed import RELEASES
from components.edge.device.offer import FILE, Offer, public_key_of, read_key, sealed
from components.edge.device.release import unpack
from components.edge.device.update import environment
from components.edge.device.uplink import TOKEN

EXAMPLE = "example: python -m components.edge build --recipe sensor -o sensor.tar.gz"
DAY_S = 86_400
KEY_BYTES = 32  # of a public key, Ed25519's
ARCHIVE = ".tar.gz"
OPTIONS = ("camera", "uplink", "precision", "config")  # of the device's `run`
PATHS = ("camera", "config")  # those that may be files: the archive's code runs in a folder of its own


def parser() -> argparse.ArgumentParser:
    """What the commands take."""
    whole = argparse.ArgumentParser(prog="python -m components.edge", description=__doc__, epilog=EXAMPLE)
    commands = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")
    build = commands.add_parser("build", help="the champion as an archive for devices")
    build.add_argument("--recipe", required=True, metavar="NAME", help="a recipe that has a champion")
    build.add_argument("-o", "--output", metavar="FILE", help="the archive (.sightline/edge/RECIPE-vN.tar.gz)")
    build.add_argument("--limit", type=float, default=0.01, help="what int8 may lose and be the default (default 0.01)")
    build.add_argument(
        "--int8-for", choices=["any", "vnni"], default="any",
        help="any: weights of 7 bits, right on all processors (default) | vnni: of 8, wrong on x86 without VNNI",
    )  # fmt: skip
    build.add_argument("--float32", action="store_true", help="leave int8 out: needs no tables")
    build.add_argument("--public-key", metavar="FILE", help="whose signature its devices accept for updates")
    key = commands.add_parser("key", help="a new pair of keys, to sign releases with")
    key.add_argument(
        "-o", "--output", required=True, metavar="FILE", help="the private key; the public one is FILE.pub"
    )
    release = commands.add_parser("release", help="an archive, signed, for devices to update themselves with")
    release.add_argument("archive", metavar="ARCHIVE", help="what `build` wrote")
    release.add_argument("--key", required=True, metavar="FILE", help="the private key")
    release.add_argument("--number", type=int, required=True, help="larger than every number before: devices insist")
    release.add_argument("-o", "--output", required=True, metavar="DIR", help="release.json and the archive")
    release.add_argument("--days", type=int, metavar="N", help="devices take it so long; renew it by the same command")
    receive = commands.add_parser("receive", help="take what devices send, until interrupted")
    receive.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    receive.add_argument("--port", type=int, default=8090, help="port to listen on (default 8090; 0: any that is free)")
    receive.add_argument(
        "--tokens", metavar="FILE", help="lines of DEVICE:TOKEN: each device sends under its own; read again on change"
    )
    receive.add_argument("--releases", metavar="DIR", help="what `release` wrote, for devices to fetch")
    fleet = commands.add_parser("fleet", help="which device runs which version")
    for one in (receive, fleet):
        one.add_argument("--store", metavar="DIR", help="what was received (.sightline/edge)")
    run = commands.add_parser("run", help="run an archive here, as a device would")
    run.add_argument("archive", metavar="ARCHIVE|DIR", help="what `build` wrote, or such an archive unpacked")
    run.add_argument("--state", required=True, metavar="DIR", help="what the device keeps")
    for name in OPTIONS:
        run.add_argument(f"--{name}", metavar=name.upper(), help="as of `python -m edge run`")
    run.add_argument("--once", action="store_true", help="one look: a file to its end, one frame of a camera")
    for one in (build, key, release, fleet):
        one.add_argument("--json", action="store_true", help="print what was done as JSON")
    return whole


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code: 0 done, 1 failed, 2 a wrong request."""
    arguments = parser().parse_args(argv)
    return guarded(lambda: COMMANDS[arguments.command](arguments), label="edge")


def _build(arguments: argparse.Namespace) -> None:
    from components.edge.build import build

    if not 0 <= arguments.limit <= 1:
        raise UsageError(f"--limit {arguments.limit:g} is not from 0 to 1", "take 0.01 for example")
    public = _public(arguments.public_key) if arguments.public_key else ""
    output = Path(arguments.output).absolute() if arguments.output else None
    os.chdir(paths.workspace())
    recipe = load_recipe(arguments.recipe)
    if output is None:
        from components.edge.build import champion

        output = paths.state("edge", f"{recipe.name}-v{champion(recipe.name)[0].version}{ARCHIVE}")
    manifest = build(recipe, output, arguments.limit, not arguments.float32, public, arguments.int8_for)
    told = {"archive": str(output), "bytes": output.stat().st_size, "sha256": file_sha256(output), **manifest}
    megabytes = told["bytes"] / 1e6
    _say(arguments, told, f"{output}: {megabytes:.1f} MB; {manifest['model']['default']}: {manifest['model']['why']}")


def _public(file: str) -> str:
    """The public key in a file. Raises UsageError for what is none: the private one would go to all devices."""
    try:
        text = Path(file).read_text().strip()
        if len(base64.b64decode(text, validate=True)) == KEY_BYTES:
            return text
    except (OSError, ValueError):
        pass
    raise UsageError(f"--public-key {file}: is no public key", "name the .pub file that `sightline edge key` made")


def _key(arguments: argparse.Namespace) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    file = Path(arguments.output)
    private = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = public_key_of(private)
    try:  # never over a key that is there: devices that trust it could not be reached any more
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise SightlineError(f"{file}: cannot be made: {error}", "name another file") from None
    with open(handle, "wb") as target:
        target.write(private)
        target.flush()
        os.fsync(target.fileno())
    atomic_bytes(file.with_name(file.name + ".pub"), f"{public}\n".encode())
    _say(arguments, {"private": str(file), "public_key": public}, f"{file}: keep it secret; public key {public}")


def _release(arguments: argparse.Namespace) -> None:
    import tempfile

    archive, folder = Path(arguments.archive), Path(arguments.output)
    if arguments.number < 1:
        raise UsageError(f"--number {arguments.number}: numbers begin at 1", "take the next larger one")
    if arguments.days is not None and arguments.days < 1:
        raise UsageError(f"--days {arguments.days}: it would never be taken", "take 1 or more")
    with tempfile.TemporaryDirectory() as aside:  # what cannot be unpacked here is not sent to devices
        manifest = unpack(archive, Path(aside) / "release").manifest
    digest = file_sha256(archive)
    name = f"{manifest['recipe']}-{arguments.number}-{digest[:12]}{ARCHIVE}"
    if (folder / FILE).exists():
        before = int(read_json(folder / FILE, "remove it").get("release", 0))
        renewed = arguments.number == before and (folder / name).exists()  # of the same archive
        if arguments.number <= before and not renewed:
            raise UsageError(f"--number {arguments.number}: {folder} offers {before} already", "take a larger one")
    offer = Offer(
        arguments.number, manifest["recipe"], manifest["version"], manifest["digest"], name, digest,
        archive.stat().st_size, int(time.time()) + arguments.days * DAY_S if arguments.days else 0,
    )  # fmt: skip
    envelope = sealed(offer, read_key(Path(arguments.key)))
    link_or_copy(archive, folder / name)  # the archive first: release.json never names what is not there
    atomic_json(folder / FILE, envelope | {"release": arguments.number})
    _say(arguments, vars(offer), f"{folder / FILE}: release {offer.release} of {offer.recipe}, version {offer.version}")


def _receive(arguments: argparse.Namespace) -> None:
    from components.edge.serve import serve
    from components.edge.tokens import Tokens

    tokens = Tokens(os.environ.get(TOKEN, ""), Path(arguments.tokens).resolve() if arguments.tokens else None)
    releases = Path(arguments.releases).resolve() if arguments.releases else None
    serve(_store(arguments), arguments.host, arguments.port, tokens, releases)


def _fleet(arguments: argparse.Namespace) -> None:
    from components.edge.ledger import fleet

    devices, now = fleet(_store(arguments)), time.time()
    lines = [
        f"{row['device']:32} release {row['release']!s:>4}  {row['model']}  seen {now - row['last_seen']:.0f} s ago  "
        f"{row['records']} records, {row['waiting']} waiting, {row['dropped']} dropped, {row['missing']} missing"
        for row in devices
    ]
    _say(arguments, devices, "\n".join(lines) or "no device has reported yet")


def _run(arguments: argparse.Namespace) -> None:
    given, state = Path(arguments.archive), Path(arguments.state).absolute()
    if given.is_dir():
        folder = given.absolute()
    elif given.is_file():
        folder = state / RELEASES / f"by-hand-{file_sha256(given)[:12]}"
        if not folder.is_dir():
            unpack(given, folder)
    else:
        raise UsageError(f"{given}: not there", "sightline edge build makes an archive")
    options = []
    for name in OPTIONS:
        value = getattr(arguments, name)
        if value is not None:
            options.append(f"--{name}={Path(value).absolute() if name in PATHS and Path(value).exists() else value}")
    options += ["--once"] if arguments.once else []
    command = [sys.executable, "-m", "edge", "run", "--state", str(state), *options]
    environ = environment(folder)
    os.chdir(folder)
    os.execve(command[0], command, environ)  # from here on the archive's own code; signals reach it


def _store(arguments: argparse.Namespace) -> Path:
    return Path(arguments.store).absolute() if arguments.store else paths.state("edge")


def _say(arguments: argparse.Namespace, told: object, words: str) -> None:
    print(json_text(told) if arguments.json else f"{words}\n", end="")


COMMANDS = {
    "build": _build, "key": _key, "release": _release, "receive": _receive, "fleet": _fleet, "run": _run,
}  # fmt: skip
