"""`sightline demo`: the whole job on generated footage, ending with a champion that answers over HTTP."""

import json
import math
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from components.core import paths
from components.core.errors import SightlineError
from components.core.recipe import load_recipe
from components.core.tables import read_shard, read_table, shards
from flows import artifacts, processes, services, summary

RECIPE = "suspicious"
READY_S = 120.0
NAME = "demo-serving"


@dataclass(frozen=True)
class Frame:
    """A frame of the held-out footage: where it is from, what evaluation said of it, and its JPEG bytes."""

    uri: str
    timestamp_s: float
    score: float
    jpeg: bytes


def run(say: Callable[[str], None], recipe: str = RECIPE) -> None:
    """Runs the training flow, serves its champion, asks it about one frame, and prints where to look.

    Raises SightlineError where the flow failed, no champion came of it, or the service did not answer as it should.
    """
    from flows import training

    began = time.monotonic()
    (outcome,) = training.run([recipe])
    summary.show(outcome)
    if not outcome.succeeded:
        raise outcome.error
    if recipe not in services.champions():
        raise _no_champion(recipe)
    frame = highest_ranked(recipe)
    with service(recipe) as url:
        answer = ask(url, frame)
    check(recipe, answer)
    say(f"\nthe service was asked about {frame.uri} at {frame.timestamp_s:.2f} s and answered:")
    print(json.dumps(answer, indent=2))
    say(where_to_look(recipe))
    say(f"\ndemo: all of it held, in {time.monotonic() - began:.0f} s")


def _no_champion(recipe: str) -> SightlineError:
    decision = artifacts.read_json(recipe, "decision.json") or {}
    if decision.get("promoted"):  # what DVC keeps says so, but .sightline/ was cleared since
        return SightlineError(
            f"{recipe}: the promoted model is not in {paths.state('deployed', recipe)}",
            f"sightline run {recipe} --from promotion --force",
        )
    return SightlineError(
        f"{recipe}: no champion: {'; '.join(decision.get('reasons', []))}",
        f"see {artifacts.report_path(recipe)} and the gates in params.yaml",
    )


def highest_ranked(recipe: str) -> Frame:
    """The held-out frame with the highest score. Raises SightlineError where the frames table lacks it."""
    columns = ["uri", "asset_id", "frame_index", "timestamp_s", "score"]
    predictions = read_table(paths.data(recipe, "evaluation") / "predictions", columns)
    best = predictions.sort_by([("score", "descending"), ("uri", "ascending"), ("frame_index", "ascending")])
    best = best.slice(0, 1).to_pylist()[0]
    for shard in shards(paths.data(recipe, "frames")):
        keys = read_shard(shard, ["asset_id", "frame_index"]).to_pylist()
        wanted = {"asset_id": best["asset_id"], "frame_index": best["frame_index"]}
        if wanted in keys:
            jpeg = read_shard(shard, ["jpeg"])["jpeg"][keys.index(wanted)].as_py()
            return Frame(best["uri"], best["timestamp_s"], best["score"], jpeg)
    raise SightlineError(f"{paths.data(recipe, 'frames')}: lacks a frame that was scored: {best}", "dvc repro")


@contextmanager
def service(recipe: str) -> Iterator[str]:
    """The URL of a model service that runs for as long as the context does."""
    port = _free_port()
    url = f"http://{services.HOST}:{port}"
    open_to_all = {"SIGHTLINE_TOKENS_FILE": ""}  # it is asked once, from this machine, and ended
    running = processes.start(NAME, services.serving_command(recipe, services.HOST, port), url, open_to_all)
    try:
        deadline = time.monotonic() + READY_S
        while not services.answers(f"{url}/readyz"):
            if processes.find(NAME) is None or time.monotonic() > deadline:
                said = processes.last_lines(NAME)
                raise SightlineError(f"the model service did not start:\n{said}", f"see {processes.log_file(NAME)}")
            time.sleep(0.2)
        yield url
    finally:
        processes.stop(running)


def ask(url: str, frame: Frame) -> dict:
    """The service's answer about one frame. Raises SightlineError for anything but an answer."""
    import httpx

    try:
        reply = httpx.post(f"{url}/v1/predict", files={"picture": ("frame.jpg", frame.jpeg, "image/jpeg")}, timeout=60)
        reply.raise_for_status()
        return reply.json()
    except (httpx.HTTPError, ValueError) as error:
        raise SightlineError(f"{url}/v1/predict: {error}", f"see {processes.log_file(NAME)}") from None


def check(recipe: str, answer: dict) -> None:
    """Raises SightlineError unless the answer gives one picture a probability of each class of the recipe."""
    classes = load_recipe(recipe).task.classes
    try:
        (result,) = answer["results"]
        probabilities = [result["probabilities"][name] for name in classes]
        sums = math.isclose(sum(probabilities), 1.0, abs_tol=1e-3)
        good = sums and all(0 <= value <= 1 for value in probabilities) and result["prediction"] in classes
    except (KeyError, TypeError, ValueError):
        good = False
    if not good:
        raise SightlineError(f"the service's answer gives no probabilities of {classes}: {answer}", "see its log")


def where_to_look(recipe: str) -> str:
    """What to open and type next."""
    root = paths.workspace()
    report = artifacts.report_path(recipe)
    mlflow = paths.state("mlflow", "mlflow.db").relative_to(root)
    places = [
        ("report", str(report.relative_to(root))),
        ("services", "sightline up (Prefect, MLflow, the model service), then sightline status"),
        ("runs", f"mlflow ui --backend-store-uri sqlite:///{mlflow}"),
        ("metrics", "dvc metrics show; dvc plots show"),
        ("one picture", f"sightline serve {recipe}; curl -F picture=@frame.jpg http://{services.HOST}:8080/v1/predict"),
        ("your turn", f"sightline run {recipe} --set training.epochs=3"),
    ]
    return "\nwhere to look\n" + "\n".join(f"  {what:12} {where}" for what, where in places)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((services.HOST, 0))
        return probe.getsockname()[1]
