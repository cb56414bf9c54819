"""The tracks of one tracker as arrays, one row a track by rising id, and their form in JSON."""

from dataclasses import dataclass

import numpy as np

from components.core.errors import SightlineError

FARTHEST = 1e30  # no number of a sound state comes near it; far beyond, sums of squares would overflow
# How a row in JSON calls what is an array here.
KEYS = {
    "ids": "id", "kinds": "kind", "confirmed": "confirmed", "hits": "hits", "scores": "score", "ages": "age",
    "spans": "span", "heights": "height", "means": "mean", "covariances": "covariance", "embeddings": "embedding",
}  # fmt: skip
TYPES = {"confirmed": bool, "ids": int, "kinds": int, "hits": int}  # the others are float


@dataclass
class Tracks:
    """N tracks; D is 0 until the first embeddings are seen. Times are in frame intervals at the nominal rate."""

    ids: np.ndarray  # (N,) int64, rising, from 1
    kinds: np.ndarray  # (N,) int64, class
    confirmed: np.ndarray  # (N,) bool
    hits: np.ndarray  # (N,) int64, frames that showed it
    scores: np.ndarray  # (N,) float64, of the last detection
    ages: np.ndarray  # (N,) float64, time since the last detection; 0: in the last frame
    spans: np.ndarray  # (N,) float64, time from the first to the last detection
    heights: np.ndarray  # (N,) float64, pixels at the last detection; they scale the noise until the next
    means: np.ndarray  # (N, 8) float64, see kalman
    covariances: np.ndarray  # (N, 8, 8) float64
    embeddings: np.ndarray  # (N, D) float64 of length 1; 0 where none was seen

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, which: np.ndarray) -> "Tracks":
        """The tracks of a mask or of indices, copied."""
        return Tracks(**{name: value[which] for name, value in vars(self).items()})

    def append(self, other: "Tracks") -> "Tracks":
        """These tracks and then the others, whose embeddings are of the same D."""
        return Tracks(**{name: np.concatenate((value, vars(other)[name])) for name, value in vars(self).items()})

    def widen(self, dimension: int) -> None:
        """Makes room for embeddings of this D where none were seen so far."""
        if self.embeddings.shape[1] == 0:
            self.embeddings = np.zeros((len(self), dimension))

    def rows(self) -> list[dict]:
        """One mapping a track, of numbers and lists of numbers: all of it, to the last bit."""
        columns = [vars(self)[name].tolist() for name in KEYS]
        return [dict(zip(KEYS.values(), values, strict=True)) for values in zip(*columns, strict=True)]


def no_tracks() -> Tracks:
    """A table of no tracks."""
    return tracks_of([], 0)


def tracks_of(rows: list[dict], dimension: int) -> Tracks:
    """The table whose `Tracks.rows` these are. Raises SightlineError naming the row and what is wrong with it."""
    if not isinstance(rows, list):
        raise bad_state("tracks is not a list")
    for place, row in enumerate(rows):
        if not isinstance(row, dict) or set(row) != set(KEYS.values()):
            raise bad_state(f"tracks[{place}] is not a mapping of {', '.join(KEYS.values())}")
    shapes = {"means": (8,), "covariances": (8, 8), "embeddings": (dimension,)}
    arrays = {}
    for name, key in KEYS.items():
        shape, kind = shapes.get(name, ()), TYPES.get(name, float)
        values = [checked(row[key], shape, kind, f"tracks[{place}].{key}") for place, row in enumerate(rows)]
        arrays[name] = np.array(values, kind).reshape(len(rows), *shape)
    tracks = Tracks(**arrays)
    _check(tracks)
    return tracks


def checked(value: object, shape: tuple[int, ...], kind: type, name: str):
    """`value`, if it is lists of this shape of nothing but bool, int or float (then int too), as `kind` says, that are
    finite and of a size that can be. Raises SightlineError naming it."""
    if shape:
        if not isinstance(value, list) or len(value) != shape[0]:
            raise bad_state(f"{name} is not a list of {shape[0]}")
        return [checked(part, shape[1:], kind, f"{name}[{place}]") for place, part in enumerate(value)]
    if kind is bool:
        if not isinstance(value, bool):
            raise bad_state(f"{name} is neither true nor false")
    elif isinstance(value, bool) or not isinstance(value, int if kind is int else (int, float)):
        raise bad_state(f"{name} is not a {'whole ' if kind is int else ''}number")
    elif not abs(value) <= (2**62 if kind is int else FARTHEST):  # false for NaN too
        raise bad_state(f"{name} is out of range")
    return value


def bad_state(problem: str) -> SightlineError:
    """The refusal of a state."""
    return SightlineError(f"state of a tracker: {problem}", "begin with a new tracker")


def _check(tracks: Tracks) -> None:
    """Raises SightlineError where the numbers are of the right form but no tracker gives them."""
    if (tracks.ids < 1).any() or (np.diff(tracks.ids) <= 0).any():
        raise bad_state("the ids do not rise from 1 on")
    for name, least in (("hits", 1), ("ages", 0), ("spans", 0), ("heights", 1e-9)):
        low = vars(tracks)[name] < least
        if low.any():
            raise bad_state(f"tracks[{int(np.argmax(low))}].{KEYS[name]} is below {least}")
    turned = tracks.covariances.transpose(0, 2, 1)
    try:
        np.linalg.cholesky(tracks.covariances)
        sound = np.allclose(tracks.covariances, turned)
    except np.linalg.LinAlgError:
        sound = False
    if not sound:
        raise bad_state("the covariance of a track is not symmetric and positive definite")
