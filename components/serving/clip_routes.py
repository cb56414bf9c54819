"""Clips over HTTP: the routes below /v1/clips."""

import os
from collections.abc import Callable

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse

from components.serving import describe_clips as describe
from components.serving.clips import NO_JOB, Clips, Job
from components.serving.model import HEADER
from components.serving.pictures import DIGITS, Refusal, content_type

TYPES = ("video/", "application/octet-stream")


def add_clips(app: FastAPI, base: str, clips: Clips, serving: Callable[[], object]) -> None:
    """Adds below `base` POST /clips, and GET and DELETE of a job, and of what it made. `serving` raises Refusal (503)
    without a model."""
    base = f"{base}/clips"

    @app.post(
        base, status_code=202, summary="Score a video", responses=describe.POST, openapi_extra=describe.REQUEST,
        description=describe.TEXT,
    )  # fmt: skip
    async def post(request: Request) -> JSONResponse:
        serving()  # before a clip is read that could not be scored
        kind = content_type(request)
        if not kind.startswith(TYPES):
            raise Refusal(415, f"content type {kind or 'missing'} is not served", "send video/mp4, for example")
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and (len(declared) > DIGITS or int(declared) > clips.clip_bytes):
            raise Refusal(413, f"the clip is larger than {clips.clip_bytes} bytes", "cut it, or scale it down")
        job = await clips.add(request.stream())
        return JSONResponse(told(job, base), 202, {"Location": f"{base}/{job.name}"})

    @app.get(f"{base}/{{job}}", summary="How far it is, and what it made", responses=describe.GET)
    async def get(job: str) -> JSONResponse:
        found = clips.job(job)
        return JSONResponse(told(found, base), headers=_by(found))

    @app.delete(f"{base}/{{job}}", summary="End a job", responses=describe.DELETE)
    async def end(job: str) -> JSONResponse:
        return JSONResponse({"job": clips.end(job).name, "state": "ended"})

    @app.get(
        f"{base}/{{job}}/{{result}}", summary="What it made", response_class=FileResponse, responses=describe.RESULT
    )
    async def fetch(job: str, result: str) -> FileResponse:
        asked = clips.job(job)
        made = asked.results
        if result not in made:
            raise Refusal(404, f"the job has no {result[:64]!r}", f"there is: {', '.join(made) or 'nothing yet'}")
        try:
            found = os.stat(made[result])
        except FileNotFoundError:
            raise Refusal(404, f"there is no job {job[:64]!r}", NO_JOB) from None
        named = f"{result}{made[result].suffix}"
        return FileResponse(made[result], filename=named, stat_result=found, headers=_by(asked))


def _by(job: Job) -> dict[str, str]:
    """The header of who scored a clip, which may not be who is served by now."""
    return {HEADER: job.summary["model"]} if job.summary else {}


def told(job: Job, base: str) -> dict:
    """What a client is told of a job, whose results are found below `base`."""
    says: dict = {"job": job.name, "state": job.state}
    if job.progress:
        says["progress"] = {"frames": job.progress[0], "of": job.progress[1]}
    if job.error:
        says["error"] = job.error
    if job.summary and job.state == "done":
        moments = [{name: value for name, value in one.items() if name != "uri"} for one in job.summary["moments"]]
        says |= {"model": job.summary["model"], "frames": job.summary["frames"], "moments": moments}
        says["results"] = {name: f"{base}/{job.name}/{name}" for name in job.results}
    return says
