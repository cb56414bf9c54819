"""config.toml: what a device does. Typed; an unknown key is refused with the nearest right name."""

import difflib
import tomllib
from dataclasses import dataclass, field, fields, replace
from fractions import Fraction
from pathlib import Path

from components.core.errors import UsageError

FILE = "config.toml"


@dataclass(frozen=True)
class Camera:
    """`source`: a number, an address, or a file; `name`: what records call it; `fps`: samples a second, empty: the
    recipe's."""

    source: str = ""
    name: str = ""
    fps: str = ""


@dataclass(frozen=True)
class Model:
    """`precision`: auto (what was measured to be good enough), float32 or int8; `threads`: of one prediction."""

    precision: str = "auto"
    threads: int = 1


@dataclass(frozen=True)
class Queue:
    """`limit_mb`: of records that wait; `when_full`: wait (look no further) or drop-oldest; `every_s`: how long records
    may be held in memory before they are stored, many at once."""

    limit_mb: float = 256.0
    when_full: str = "wait"
    every_s: float = 1.0


@dataclass(frozen=True)
class Uplink:
    """Where records go, and in what portions; `token_file` holds what the receiver asks for."""

    url: str = ""
    token_file: str = ""
    batch_records: int = 500
    batch_kb: int = 512
    timeout_s: float = 30.0
    heartbeat_s: float = 60.0
    retry_max_s: float = 300.0


@dataclass(frozen=True)
class Update:
    """`url`: of a release.json; `public_key`: whose signature is accepted; a new release is on trial for `trial_s`
    seconds and at most `trial_starts` starts."""

    url: str = ""
    every_s: float = 3600.0
    public_key: str = ""
    trial_s: float = 60.0
    trial_starts: int = 3


@dataclass(frozen=True)
class Config:
    """All sections."""

    camera: Camera = field(default_factory=Camera)
    model: Model = field(default_factory=Model)
    queue: Queue = field(default_factory=Queue)
    uplink: Uplink = field(default_factory=Uplink)
    update: Update = field(default_factory=Update)

    def with_(self, section: str, **values) -> "Config":
        """A copy in which these values of a section are others; those that are None stay."""
        given = {name: value for name, value in values.items() if value is not None}
        return checked(replace(self, **{section: replace(getattr(self, section), **given)}))

    def rate(self, recipes: str | None) -> Fraction | None:
        """Samples a second: the camera's or, where it does not say, the recipe's; None: every frame."""
        said = self.camera.fps or recipes
        return Fraction(said) if said else None


def read_config(*files: Path, strict: bool = True) -> Config:
    """The configuration in these files, of which a later one has the last word key by key; one that is not there says
    nothing. Raises UsageError naming file, key and reason. Not `strict`: what is not known is passed over.
    """
    sections = {one.name: one.default_factory for one in fields(Config)}
    values: dict[str, dict] = {name: {} for name in sections}
    for path in files:
        for name, table in _tables(path).items():
            if _known(path, name, sections, strict):
                values[name] |= _values(path, name, sections[name], table, strict)
    try:
        return checked(Config(**{name: sections[name](**given) for name, given in values.items()}))
    except UsageError as error:
        raise UsageError(f"{' and '.join(map(str, files))}: {error.problem}", error.remedy) from None


def _tables(path: Path) -> dict:
    try:
        return tomllib.loads(path.read_text()) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read: {error}", "correct the file") from None


def _values(path: Path, name: str, kind: type, table: object, strict: bool) -> dict:
    if not isinstance(table, dict):
        raise UsageError(f"{path}: {name} is not a section", f"write [{name}] and its keys below")
    known, values = {one.name: one.type for one in fields(kind)}, {}
    for key, value in table.items():
        if not _known(path, key, known, strict, f"{name}."):
            continue
        value = float(value) if known[key] is float and type(value) is int else value
        if type(value) is not known[key]:
            raise UsageError(f"{path}: {name}.{key} = {value!r} is no {known[key].__name__}", "correct the file")
        values[key] = value
    return values


def _known(path: Path, key: str, known: dict, strict: bool, prefix: str = "") -> bool:
    if key not in known and strict:
        near = difflib.get_close_matches(key, known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
        raise UsageError(f"{path}: {prefix}{key} is not known", hint)
    return key in known


def checked(config: Config) -> Config:
    """The configuration, if it can be. Raises UsageError naming the key."""
    words = {"model.precision": ("auto", "float32", "int8"), "queue.when_full": ("wait", "drop-oldest")}
    for key, allowed in words.items():
        section, name = key.split(".")
        if getattr(getattr(config, section), name) not in allowed:
            raise UsageError(f"{key} is none of {', '.join(allowed)}", "take one of them")
    least = {
        "model.threads": 1, "queue.limit_mb": 0.01, "queue.every_s": 0, "uplink.batch_records": 1, "uplink.batch_kb": 1,
        "uplink.timeout_s": 0.1, "uplink.heartbeat_s": 0.1, "uplink.retry_max_s": 0.1, "update.every_s": 0.1,
        "update.trial_s": 0, "update.trial_starts": 1,
    }  # fmt: skip
    for key, low in least.items():
        section, name = key.split(".")
        if not getattr(getattr(config, section), name) >= low:
            raise UsageError(f"{key} is below {low}", "make it larger")
    url = config.uplink.url
    if url and not url.startswith(("http://", "https://")):
        raise UsageError(f"uplink.url = {url!r} is no http address", "write http://... or https://...")
    try:
        good = not config.camera.fps or Fraction(config.camera.fps) > 0
    except (ValueError, ZeroDivisionError):
        good = False
    if not good:
        raise UsageError(f"camera.fps = {config.camera.fps!r} is no rate", 'write "5" or "30000/1001"')
    return config
