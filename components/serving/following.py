"""Frames in, tracks out: what following over HTTP and over a WebSocket have in common."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial

import numpy as np

from components.serving.backlog import Kept
from components.serving.batcher import Batcher
from components.serving.detector import Found
from components.serving.gate import Gate, Place
from components.serving.model import ServedModel
from components.serving.payload import Payload, Ready, Sent, parse, ready
from components.serving.pictures import Limits, Refusal
from components.serving.sessions import BASE, Session, Sessions

DEFAULT = "default"


class Following:
    """Answers frames of many sessions at once.

    `serving` gives the model of now, or raises Refusal (503); `drawn` what notes the answers to a request of this ASGI
    scope, or to a message of it, None where they are not kept; `base`: the path of the routes.
    """

    def __init__(
        self, serving: Callable[[], ServedModel], pool: Executor, gate: Gate, limits: Limits,
        drawn: Callable[..., Kept | None], base: str = BASE,
    ):  # fmt: skip
        self.limits, self.drawn, self.sessions = limits, drawn, Sessions(base)
        self._serving, self._pool, self._gate, self._batcher = serving, pool, gate, Batcher(pool)

    def check(self) -> ServedModel:
        """The model of now. Raises Refusal (404) where it does not follow what it finds, 503 where there is none."""
        model = self._serving()
        if not model.bundle.tracks:
            raise Refusal(
                404, f"{model.bundle.recipe}'s model does not track",
                f"use {self.sessions.base}/predict, or serve a recipe whose task.tracks is true",
            )  # fmt: skip
        return model

    async def payload(
        self, body: bytes | str, session: str | None = None, otherwise: str = DEFAULT, kept: Kept | None = None
    ) -> tuple[ServedModel, dict]:
        """(the model that looked, the answer) to a JSON payload: of the `session` named beside it, the one that it
        names, or `otherwise`.

        Raises Refusal: 400 what cannot be read, 409 frames out of order, 413 too much, 415 another type, 503 no room.
        """
        return await self._answer(partial(parse, body, self.limits), session, otherwise, kept)

    async def picture(self, content: bytes, session: str, kept: Kept | None = None) -> tuple[ServedModel, dict]:
        """The same of a picture that is the session's next frame. Raises Refusal."""
        return await self._answer(lambda: Payload(None, [Sent(None, content)], False), session, DEFAULT, kept)

    async def end(self, session: str) -> dict:
        """The answer to a session's end. Raises Refusal (404)."""
        frames = await self.sessions.end(session)
        if frames is None:
            raise Refusal(404, f"no session {session}", "it has ended, or never had a frame")
        return {"session": session, "frames": frames}

    async def _answer(
        self, read: Callable[[], Payload], named: str | None, otherwise: str, kept: Kept | None
    ) -> tuple[ServedModel, dict]:
        model = self.check()  # this one looks, whatever takes its place meanwhile
        return await self._gate.through(partial(self._followed, model, read, named, otherwise, kept))

    async def _followed(
        self, model, read: Callable[[], Payload], named: str | None, otherwise: str, kept: Kept | None, place: Place
    ) -> tuple[ServedModel, dict]:
        with self._batcher.coming():
            payload, frames = await self._run(place.run, _opened, read, model, self.limits)
        name = _one(named, payload.session) or otherwise
        async with self.sessions.held(name) as session:
            place.check()  # before anything changes; from here on it is done whole, whoever still waits for it
            asked = session.numbered(frames)
            new = session.unanswered(asked)
            if new:
                found = await self._batcher.find(model, [frame.picture for _, frame in new])
                await self._run(session.follow, model, asked, found)
                if kept:
                    _note(kept, model, payload, session, asked, [number for number, _ in new], found)
            return session.model, _said(session, [number for number, _ in asked], payload.listed)

    async def _run(self, act: Callable, *arguments):
        return await asyncio.get_running_loop().run_in_executor(self._pool, act, *arguments)


def _opened(read: Callable[[], Payload], model, limits: Limits) -> tuple[Payload, list[Ready]]:
    payload = read()
    return payload, ready(payload, model, limits)


def _note(
    kept: Kept, model: ServedModel, payload: Payload, session: Session, asked: list[tuple[int, Ready]],
    new: list[int], found: list[Found],
) -> None:  # fmt: skip
    """Notes the frames that are new, and what was answered: `boxes` are the tracks that a frame shows."""
    places = [place for place, (number, _) in enumerate(asked) if number in new]
    called = model.called(np.concatenate([one.probabilities for one in found]))
    tracks = [len(session.answered[number][1]) for number in new]
    contents = [payload.frames[place].content for place in places]
    kept.answered(model, contents, called, tracks, places, session.name)


def _one(named: str | None, within: str | None) -> str | None:
    """The session that is named beside a payload or within it. Raises Refusal (400) where these are two."""
    if named and within and named != within:
        raise Refusal(400, f"two sessions are named, {named} and {within}", "name one")
    return named or within


def _said(session: Session, numbers: list[int], listed: bool) -> dict:
    """What a session knows of frames that were followed."""
    frames = [{"frame_id": number, "tracks": session.answered[number][1]} for number in numbers]
    about = {"model": session.model.identity, "session": session.name, "begun": session.begun}
    return about | ({"frames": frames} if listed else frames[0])
