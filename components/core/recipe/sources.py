"""What is learned, and the sources that the project makes or gathers itself."""

from typing import Literal

from pydantic import Field, PositiveInt, model_validator

from components.core.recipe.section import Section, Share


class Task(Section):
    """The learning problem. `classes` in the order of the model's outputs; `positive` is the class ranked by.

    For detection, which finds where in a frame the others are, the first class is the background.

    Without a positive class all are of one rank: the likeliest is called, and a frame's score is its probability.
    `tracks`: of detection, whether what is found in a frame is also known again in the next ones.
    """

    kind: Literal["classification", "detection"] = "classification"
    classes: tuple[str, ...] = Field(min_length=2)
    positive: str | None = None
    tracks: bool = False

    @property
    def positive_index(self) -> int | None:
        """The positive class's place in `classes`, or None."""
        return None if self.positive is None else self.classes.index(self.positive)

    @model_validator(mode="after")
    def _positive_is_a_class(self):
        if self.positive is not None and self.positive not in self.classes:
            raise ValueError(f"positive: {self.positive!r} is not one of classes {list(self.classes)}")
        return self

    @model_validator(mode="after")
    def _what_is_tracked_is_detected(self):
        if self.tracks and self.kind != "detection":
            raise ValueError("tracks: only what is detected can be tracked: set kind detection")
        return self


class Scenes(Section):
    """Generated footage, for `source: scenes`."""

    seed: int = 11
    train_clips: PositiveInt = 24
    val_clips: PositiveInt = 8
    test_clips: PositiveInt = 12
    seconds: float = Field(8.0, ge=1, le=600)


class Cameras(Section):
    """Generated pictures of edge cameras with EXIF, for `source: cameras`: by day and by night, mostly empty."""

    seed: int = 5
    sites: int = Field(4, ge=2, le=26)
    pictures: PositiveInt = 90  # per site
    animals: float = Field(0.25, gt=0, lt=1)  # share of the pictures that show one


class Digits(Section):
    """Generated pictures of handwritten-like digits, a folder per class, for `source: digits`."""

    seed: int = 3
    per_class: PositiveInt = 50
    size: int = Field(32, ge=16, le=256)


class Wild(Section):
    """Generated pictures of animals in the open, for `source: wild`: with one to three of them, or with none.

    `empty`: share of the pictures without an animal, of which many show what looks like one; `several`: share of the
    others that show two or three; `camouflage`: share of the animals whose coat has the tone of what is behind them.
    """

    seed: int = 9
    pictures: int = Field(360, ge=20)
    empty: float = Field(0.45, gt=0, lt=1)
    several: Share = 0.35
    camouflage: Share = 0.25


class Search(Section):
    """Pictures gathered by image search, for `source: search`. The query that found a picture is its only label.

    `provider`: who is asked; `endpoint`: its address if it is not the public one, for `json` a template with {query},
    {page} and {per_page}, for `folder` the folder below which a query names a folder of pictures. `fields`: for `json`,
    where an answer holds what (dotted paths: items, url, and if there are any page, licence, author, title).
    `positive`: queries for the positive class; `negative`: for what is not it, look-alikes above all; `random`: so many
    further queries of one random word, drawn by `seed`, as in noise-contrastive estimation. `pictures`,
    `negative_pictures`, `random_pictures`: wanted at most of one such query. `rate`: requests a second to one host;
    `retries` of what may pass, with backoff; `robots`: whether a host's robots.txt is obeyed. `max_mb`, `min_side`: of
    one picture; `near`: of 64 bits of the perceptual hash, how many may differ between near-duplicates (-1: none are
    looked for). `licences`: those that are taken, by the words of the provider (empty: any).
    """

    provider: Literal["openverse", "wikimedia", "json", "folder"] = "openverse"
    endpoint: str | None = None
    fields: dict[Literal["items", "url", "page", "licence", "author", "title"], str] = {}
    positive: tuple[str, ...] = ()
    negative: tuple[str, ...] = ()
    random: int = Field(0, ge=0)
    pictures: PositiveInt = 400
    negative_pictures: PositiveInt = 200
    random_pictures: PositiveInt = 10
    per_page: PositiveInt = 20
    rate: float = Field(2.0, gt=0)
    timeout_s: float = Field(30.0, gt=0)
    retries: int = Field(3, ge=0)
    robots: bool = True
    max_mb: float = Field(20.0, gt=0)
    min_side: PositiveInt = 64
    near: int = Field(4, ge=-1, le=16)
    licences: tuple[str, ...] = ()
    seed: int = 0


class Explained(Section):
    """The boxes that another recipe's explained classifier gave, for `source: explained`.

    `recipe`: that recipe, which params.yaml lists under `explained`. `truth`: a file of human boxes, below its source's
    folder or of the workspace, which are used for the held-out assets alone, to measure by; null where there are none.
    """

    recipe: str = "sightings"
    truth: str | None = None
