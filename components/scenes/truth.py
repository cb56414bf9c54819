"""The exact truth of a clip, without drawing it."""

from __future__ import annotations

from dataclasses import dataclass

from components.scenes.backgrounds import BACKGROUNDS, Place
from components.scenes.camera import View, camera
from components.scenes.scenarios import play
from components.scenes.shapes import bag_shape, figure
from components.scenes.spec import ClipSpec

SUSPICIOUS = frozenset({"fighting", "falling", "lying"})
ACTIVITIES = SUSPICIOUS | {
    "walking", "running", "standing", "talking", "greeting", "browsing", "crouching", "sitting", "bending", "rising",
}  # fmt: skip


@dataclass(frozen=True)
class FrameTruth:
    """What is in one frame.

    people: (track_id, x, y, w, h, activity); objects: (track_id, "bag", x, y, w, h, abandoned); carried: the track ids
    of the objects that somebody carries. Boxes are in pixels: the extents of the whole figure, clipped to the picture;
    what others hide of it counts as there.
    """

    frame_index: int
    suspicious: bool
    people: list[tuple[int, int, int, int, int, str]]
    objects: list[tuple[int, str, int, int, int, int, bool]]
    carried: frozenset[int] = frozenset()


class Staging:
    """A clip's place, cast and outlines: what both the truth and the drawing need."""

    def __init__(self, clip: ClipSpec):
        self.view = View(camera(clip.camera), clip.width, clip.height)
        self.place = Place(BACKGROUNDS[clip.background], self.view)
        self.cast = play(clip, self.place)
        self.figures = [figure(track, self.view) for track in self.cast.people]
        self.bags = [bag_shape(bag, self.view) for bag in self.cast.bags]

    def truth(self, t: int) -> FrameTruth:
        """The truth of frame t. Suspicious: someone in the picture fights, falls or lies, or a bag lies abandoned."""
        people = [
            (i + 1, *figure_.boxes[t].tolist(), str(track.activity[t]))
            for i, (track, figure_) in enumerate(zip(self.cast.people, self.figures, strict=True))
            if figure_.seen[t]
        ]
        first = len(self.cast.people) + 1
        objects, carried = [], set()
        for i, (bag, shape) in enumerate(zip(self.cast.bags, self.bags, strict=True)):
            if shape.seen[t]:
                objects.append((first + i, "bag", *shape.boxes[t].tolist(), bool(bag.state[t] == "abandoned")))
                if bag.state[t] == "carried":
                    carried.add(first + i)
        suspicious = any(person[5] in SUSPICIOUS for person in people) or any(thing[6] for thing in objects)
        return FrameTruth(t, suspicious, people, objects, frozenset(carried))


def clip_truth(clip: ClipSpec) -> list[FrameTruth]:
    """The truth of every frame of a clip, from the script alone: milliseconds, no pixels."""
    staging = Staging(clip)
    return [staging.truth(t) for t in range(clip.frames)]
