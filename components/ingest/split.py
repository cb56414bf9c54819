"""Which assets train, which steer training (val), which are held out (test). By asset, never by frame."""

import hashlib
from dataclasses import dataclass
from fnmatch import fnmatchcase

from components.core.errors import UsageError
from components.core.recipe import Split

TRAIN, VAL, TEST = "train", "val", "test"


@dataclass(frozen=True)
class Candidate:
    """An asset to be put somewhere: all names of its bytes, the classes its frames have, the source's own word."""

    asset_id: str
    names: tuple[str, ...]
    classes: frozenset[str] = frozenset()
    given: frozenset[str] = frozenset()


def check_globs(rule: Split, names: list[str]) -> None:
    """Raises UsageError for a glob of the recipe that matches no file: most often a misspelt name."""
    for part in (TEST, VAL):
        for glob in getattr(rule, part):
            if not any(_matches(name, glob) for name in names):
                raise UsageError(
                    f"ingest.split.{part}: no file of the source matches {glob!r}", f"names look like {names[0]!r}"
                )


def _matches(name: str, glob: str) -> bool:
    """A glob is held against the whole name below the source's folder and against its last part."""
    return fnmatchcase(name, glob) or fnmatchcase(name.rsplit("/", 1)[-1], glob)


def position(asset_id: str, seed: int) -> float:
    """Where an asset stands in [0, 1): from its bytes and the seed alone, so other assets never move it."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{asset_id}".encode()).digest()[:6], "big") / 2**48


def assign(assets: list[Candidate], rule: Split) -> dict[str, str]:
    """asset_id -> train, val or test.

    A glob of the recipe decides first, then the source's own split, then the asset's position: below test_fraction it
    is test, below test_fraction + val_fraction val. A part that the recipe or the source names is not drawn as well.
    Where several words meet on one asset (the same bytes under two names), test goes before val before train: what is
    held out stays so.

    Small sets need help; only drawn assets move, and always the same: (1) of 3 assets two stay outside test, of 2 one,
    and train is not empty; (2) where only val holds a class, its holder goes to train; (3) an empty val, and an empty
    test where test_fraction is above 0 and 3 assets are there, gets the train asset of smallest position that leaves
    train its classes, else one of several in val, else any; (4) a class that val or test lacks comes with the train
    asset of smallest position that has it, where train keeps another one.
    """
    fixed = {asset.asset_id: word for asset in assets if (word := _told(asset, rule))}
    spot = {asset.asset_id: position(asset.asset_id, rule.seed) for asset in assets}
    by_test = 0.0 if TEST in fixed.values() else rule.test_fraction
    by_val = 0.0 if VAL in fixed.values() else rule.val_fraction
    parts = {
        name: fixed.get(name) or (TEST if spot[name] < by_test else VAL if spot[name] < by_test + by_val else TRAIN)
        for name in spot
    }
    free = sorted((a for a in assets if a.asset_id not in fixed), key=lambda a: (spot[a.asset_id], a.asset_id))
    _Balance(assets, free, parts).run([(TEST, 3)] * (by_test > 0) + [(VAL, 2)])
    return parts


def _told(asset: Candidate, rule: Split) -> str | None:
    for part in (TEST, VAL):
        if any(_matches(name, glob) for name in asset.names for glob in getattr(rule, part)):
            return part
    return next((part for part in (TEST, VAL, TRAIN) if part in asset.given), None)


class _Balance:
    """Moves drawn assets, `free` in order of position, until every part that is wanted has assets and classes."""

    def __init__(self, assets: list[Candidate], free: list[Candidate], parts: dict[str, str]):
        self.assets, self.free, self.parts = assets, free, parts
        self.classes = sorted(set().union(*(asset.classes for asset in assets)))

    def run(self, wanted: list[tuple[str, int]]) -> None:
        """`wanted`: the parts to fill, each with the number of assets (for val: outside test) that it takes."""
        while len(self.assets) - len(self._in(TEST)) < min(2, len(self.assets) - 1) and self._free(TEST):
            self._move(self._free(TEST)[-1], TRAIN)
        if not self._in(TRAIN) and len(self._in(VAL)) > 1 and self._free(VAL):
            self._move(self._free(VAL)[-1], TRAIN)
        for name in self.classes:
            holder = next((asset for asset in self._free(VAL) if name in asset.classes), None)
            if holder and not self._holders(TRAIN, name):
                self._move(holder, TRAIN)
        for part, least in wanted:
            rest = [asset for asset in self.assets if part == TEST or self.parts[asset.asset_id] != TEST]
            if len(rest) >= least and not self._in(part):
                train = self._free(TRAIN) if len(self._in(TRAIN)) > 1 else []
                val = self._free(VAL) if len(self._in(VAL)) > 1 else []
                if spare := [asset for asset in train if self._spared(asset)] or val or train:
                    self._move(spare[0], part)
        for part, _ in wanted:
            for name in self.classes:
                spare = [asset for asset in self._free(TRAIN) if name in asset.classes and self._spared(asset)]
                if spare and self._in(part) and not self._holders(part, name) and len(self._in(TRAIN)) > 1:
                    self._move(spare[0], part)

    def _move(self, asset: Candidate, part: str) -> None:
        self.parts[asset.asset_id] = part

    def _in(self, part: str) -> list[Candidate]:
        return [asset for asset in self.assets if self.parts[asset.asset_id] == part]

    def _free(self, part: str) -> list[Candidate]:
        return [asset for asset in self.free if self.parts[asset.asset_id] == part]

    def _holders(self, part: str, name: str) -> list[Candidate]:
        return [asset for asset in self._in(part) if name in asset.classes]

    def _spared(self, asset: Candidate) -> bool:
        """Whether train has every class without this asset too."""
        return all(len(self._holders(TRAIN, name)) > 1 for name in asset.classes)
