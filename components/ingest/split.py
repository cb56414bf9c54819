"""Which assets train, which steer training (val), which are held out (test). By asset, never by frame."""

import hashlib
from collections import Counter
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from components.core.errors import UsageError
from components.core.media import IMAGE_SUFFIXES
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


def assign_sequences(assets: list[Candidate], rule: Split) -> dict[str, str]:
    """As `assign`, but the pictures of one folder, which are a sequence, come into one part, drawn by its name.

    What a glob or the source puts somewhere comes there alone.
    """
    members: dict[str, list[Candidate]] = {}
    for asset in assets:
        folder, _, name = asset.names[0].rpartition("/")
        alone = _told(asset, rule) is not None or PurePosixPath(name).suffix.lower() not in IMAGE_SUFFIXES
        members.setdefault(asset.asset_id if alone else f"{folder}/", []).append(asset)
    whole = [
        Candidate(
            key,
            tuple(name for one in group for name in one.names),
            frozenset().union(*(one.classes for one in group)),
            frozenset().union(*(one.given for one in group)),
        )
        for key, group in members.items()
    ]
    parts = assign(whole, rule)
    return {one.asset_id: parts[key] for key, group in members.items() for one in group}


def _told(asset: Candidate, rule: Split) -> str | None:
    for part in (TEST, VAL):
        if any(_matches(name, glob) for name in asset.names for glob in getattr(rule, part)):
            return part
    return next((part for part in (TEST, VAL, TRAIN) if part in asset.given), None)


class _Balance:
    """Moves drawn assets, `free` in order of position, until every part that is wanted has assets and classes.

    Sizes and holders of classes are counted along, so that a million assets take a pass or two, not one each.
    """

    def __init__(self, assets: list[Candidate], free: list[Candidate], parts: dict[str, str]):
        self.total, self.free, self.parts = len(assets), free, parts
        self.sizes = Counter(parts.values())
        self.holders = Counter((parts[asset.asset_id], name) for asset in assets for name in asset.classes)
        self.classes = sorted({name for _, name in self.holders})

    def run(self, wanted: list[tuple[str, int]]) -> None:
        """`wanted`: the parts to fill, each with the number of assets (for val: outside test) that it takes."""
        while self.total - self.sizes[TEST] < min(2, self.total - 1) and (last := self._last(TEST)):
            self._move(last, TRAIN)
        if not self.sizes[TRAIN] and self.sizes[VAL] > 1 and (last := self._last(VAL)):
            self._move(last, TRAIN)
        for name in self.classes:
            if not self.holders[TRAIN, name] and (holder := self._first(VAL, name)):
                self._move(holder, TRAIN)
        for part, least in wanted:
            rest = self.total - (0 if part == TEST else self.sizes[TEST])
            if rest >= least and not self.sizes[part] and (asset := self._to_spare()):
                self._move(asset, part)
        for part, _ in wanted:
            for name in self.classes:
                lacking = self.sizes[part] and not self.holders[part, name] and self.sizes[TRAIN] > 1
                if lacking and (asset := self._first(TRAIN, name, spared=True)):
                    self._move(asset, part)

    def _move(self, asset: Candidate, part: str) -> None:
        before, self.parts[asset.asset_id] = self.parts[asset.asset_id], part
        self.sizes.subtract([before])
        self.sizes.update([part])
        self.holders.subtract((before, name) for name in asset.classes)
        self.holders.update((part, name) for name in asset.classes)

    def _to_spare(self) -> Candidate | None:
        """Train's first asset that leaves it its classes, else the first of several in val, else train's first."""
        train = self._first(TRAIN) if self.sizes[TRAIN] > 1 else None
        val = self._first(VAL) if self.sizes[VAL] > 1 else None
        return (train and self._first(TRAIN, spared=True)) or val or train

    def _first(self, part: str, name: str | None = None, spared: bool = False) -> Candidate | None:
        """The drawn asset of smallest position in `part`, of those with the class `name`, and that train can spare."""
        found = (asset for asset in self.free if self.parts[asset.asset_id] == part)
        found = (asset for asset in found if name is None or name in asset.classes)
        return next((asset for asset in found if not spared or self._spared(asset)), None)

    def _last(self, part: str) -> Candidate | None:
        return next((asset for asset in reversed(self.free) if self.parts[asset.asset_id] == part), None)

    def _spared(self, asset: Candidate) -> bool:
        """Whether train has every class without this asset too."""
        return all(self.holders[TRAIN, name] > 1 for name in asset.classes)
