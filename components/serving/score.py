"""From pictures as they were sent to answers: decoded, scaled, scored on one of the service's few threads."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
from starlette.requests import Request

from components.serving.backlog import Kept
from components.serving.exchange import KEY
from components.serving.gate import Gate
from components.serving.microbatch import MicroBatcher, Work
from components.serving.model import ServedModel
from components.serving.pictures import Limits, Refusal, decode

Made = TypeVar("Made")


@dataclass(frozen=True)
class Desk:
    """What a route needs to have a request answered: `serving` gives the model of now, or raises Refusal (503); `drawn`
    what notes the answers to a request of this ASGI scope, None where they are not kept."""

    serving: Callable[[], ServedModel]
    pool: Executor
    batcher: MicroBatcher
    gate: Gate
    limits: Limits
    drawn: Callable[[dict], Kept | None]

    async def answered(self, request: Request, work: Callable[..., Work]) -> tuple[ServedModel, Any]:
        """(the model that answered, what the work of `work(model, kept=...)` returned on a thread of the pool).

        Raises Refusal as the work does, 503 where there is no model, and as the gate does where too much is waiting.
        """
        model = self.serving()  # this one answers, whatever takes its place meanwhile
        begin = partial(work, model, kept=self.drawn(request.scope))
        size = max(1, request.scope[KEY].received)
        return model, await self.gate.through(lambda place: self.batcher.ask(model, begin, place, size))

    async def made(self, act: Callable[[ServedModel], Made]) -> tuple[ServedModel, Made]:
        """(the model of now, what `act` made with it on a thread of the pool, by itself). Raises as `answered`."""
        model = self.serving()
        return model, await self.gate.run(self.pool, act, model)


def prepared(
    model: ServedModel, contents: Sequence[bytes | np.ndarray], limits: Limits
) -> tuple[list[np.ndarray], list[tuple[int, int]]]:
    """(the pictures of one request as the model takes them, the height and width that each had), in their order.

    `contents`: encoded pictures, or pixels, (H, W, 3) uint8 RGB. Raises Refusal, naming the picture.
    """
    pictures, sizes = [], []
    for number, content in enumerate(contents, start=1):
        try:
            rgb = content if isinstance(content, np.ndarray) else decode(content, limits)
        except Refusal as refusal:
            where = f"picture {number} of {len(contents)}: " if len(contents) > 1 else ""
            raise Refusal(refusal.status, where + refusal.error, refusal.remedy) from None
        sizes.append(rgb.shape[:2])
        if sum(height * width for height, width in sizes) > limits.all_pixels:
            raise Refusal(413, f"the pictures have more than {limits.all_pixels} pixels together", "send fewer at once")
        # Scaled down at once, so that a request of many pictures never holds them all in full size.
        pictures.append(model.prepare(rgb))
    return pictures, sizes


def score(
    model: ServedModel, contents: Sequence[bytes | np.ndarray], limits: Limits, least: float | None, kept: Kept | None
) -> Work:
    """The work that decodes and scores the pictures of one request, and returns the answers in their order.

    It raises Refusal, naming the picture.
    `least`: the score asked of boxes, or None; `kept`: what notes the answers, or None.
    """
    pictures, sizes = prepared(model, contents, limits)
    results = model.said((yield pictures), sizes, least)
    if kept:
        boxes = [len(row["boxes"]) for row in results] if model.bundle.finds_boxes else None
        kept.answered(model, contents, results, boxes)
    return results
