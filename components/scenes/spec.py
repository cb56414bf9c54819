"""What is to be generated: the scene (how many clips) and each clip (which scenario, camera, background, seed)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from fractions import Fraction

import numpy as np

from components.core.errors import UsageError
from components.scenes.backgrounds import BACKGROUNDS, TEST_BACKGROUNDS
from components.scenes.camera import CAMERAS, NIGHT, TEST_CAMERAS

GENERATOR_VERSION = 1  # raise it whenever the same ClipSpec would give other bytes
SPLITS = ("train", "val", "test")
# A small split gets the first variant of each scenario, and the order spreads the suspicious ones over it.
VARIANTS = {
    "fight": ("brawl", "knockdown", "group"),
    "walk": ("stroll", "hurry", "tie"),
    "rest": ("fall", "slump", "rest"),
    "meet": ("meet", "together", "split"),
    "bag": ("left", "kept", "returned"),
    "browse": ("shelf", "low", "bag"),
}
SCENARIOS = tuple(VARIANTS)
CODECS = {"h264": ".mp4", "mpeg2video": ".mpg"}


@dataclass(frozen=True)
class SceneSpec:
    """A generated data set. `scale` multiplies the cameras' picture sizes; sizes are rounded to multiples of 16.

    `night`: the same cameras after dark (`camera.camera` says how they see then).
    """

    seed: int
    train_clips: int
    val_clips: int
    test_clips: int
    seconds: float = 8.0
    scale: float = 1.0
    night: bool = False

    def __post_init__(self):
        checks = {
            "seed": (0 <= self.seed < 2**63, "a whole number from 0 to 2**63 - 1"),
            "train_clips": (self.train_clips >= 0, "0 or more"),
            "val_clips": (self.val_clips >= 0, "0 or more"),
            "test_clips": (self.test_clips >= 0, "0 or more"),
            "seconds": (1 <= self.seconds <= 600, "1 to 600"),
            "scale": (0.5 <= self.scale <= 4, "0.5 to 4"),
        }
        for name, (good, allowed) in checks.items():
            if not good:
                raise UsageError(f"scene: {name} = {getattr(self, name)!r} is out of range", f"use {allowed}")

    def clips(self, split: str) -> int:
        """The number of clips of `split`."""
        return {"train": self.train_clips, "val": self.val_clips, "test": self.test_clips}[split]


@dataclass(frozen=True)
class ClipSpec:
    """One clip; together with GENERATOR_VERSION it determines every byte of the file and of its truth."""

    clip_id: str
    scenario: str
    variant: str
    camera: str
    background: str
    seed: int
    seconds: float
    fps: Fraction
    width: int
    height: int
    codec: str
    split: str

    @property
    def frames(self) -> int:
        """The number of frames: seconds times the exact rate, rounded to the nearest."""
        return round(Fraction(self.seconds).limit_denominator(1000) * self.fps)

    @property
    def file_name(self) -> str:
        """The clip's file name, with the extension of its container."""
        return self.clip_id + CODECS[self.codec]

    def rng(self, purpose: int) -> np.random.Generator:
        """An independent PCG64 stream per purpose, so that drawing more for one purpose never shifts another."""
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.seed, purpose])))

    def as_json(self) -> dict:
        """The fields as JSON values; the rate stays exact as "30000/1001"."""
        return {**asdict(self), "fps": f"{self.fps.numerator}/{self.fps.denominator}"}


def clip_specs(spec: SceneSpec) -> list[ClipSpec]:
    """All clips of the scene, train then val then test.

    Clip i of a split depends on the scene's seed, seconds, scale and light, the split and i only: a longer list starts
    with the shorter one. Scenarios go round in turn; the cameras and backgrounds of test clips are never those of
    train/val.
    """
    return [_clip(spec, split, i) for split in SPLITS for i in range(spec.clips(split))]


def _clip(spec: SceneSpec, split: str, i: int) -> ClipSpec:
    code = SPLITS.index(split)
    seed = int(np.random.SeedSequence([spec.seed, code, i]).generate_state(1, np.uint64)[0] >> np.uint64(1))
    shift = np.random.SeedSequence([spec.seed, code]).generate_state(2)
    turn, scenario = i // len(SCENARIOS), SCENARIOS[i % len(SCENARIOS)]
    cameras = sorted(name for name in CAMERAS if (name in TEST_CAMERAS) == (split == "test"))
    backgrounds = sorted(name for name in BACKGROUNDS if (name in TEST_BACKGROUNDS) == (split == "test"))
    # The steps keep scenario, place and codec from going round together, or a place would give the label away.
    place = (i + turn) % len(backgrounds)
    camera = CAMERAS[cameras[(i + 2 * turn + i // len(backgrounds) + int(shift[0])) % len(cameras)]]
    return ClipSpec(
        clip_id=f"{split}-{i:03d}-{scenario}",
        scenario=scenario,
        variant=VARIANTS[scenario][turn % len(VARIANTS[scenario])],
        camera=camera.name + NIGHT * spec.night,
        background=backgrounds[(place + int(shift[1])) % len(backgrounds)],
        seed=seed,
        seconds=float(spec.seconds),
        fps=camera.fps,
        width=_multiple_of_16(camera.width * spec.scale),
        height=_multiple_of_16(camera.height * spec.scale),
        codec=("h264", "mpeg2video")[(i + turn) % 2],
        split=split,
    )


def _multiple_of_16(length: float) -> int:
    return max(16, 16 * round(length / 16))
