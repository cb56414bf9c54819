"""One unit of work: the explanation of one frame, made by whichever Spark worker it falls to."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import torch

from components.core import heat, lime, tables
from components.core.files import atomic_json
from components.core.media import decode_picture, resize
from components.core.recipe import Explain
from components.core.spark import task_cores
from components.core.workcache import seal
from components.explain import judge
from components.tasks.classification.model import load_model
from components.tasks.engines import Engine, Plan, load
from components.tasks.engines.choice import before


def explain_frame(item: dict) -> dict:
    """Explains the frame at place `item["middle"]` of the rows `item["rows"]` of the frames shard `item["frames"]`.

    The model sees these neighbouring frames as one sequence, and what is switched off is off in all of them. Writes
    what was found to `item["target"]`; returns nothing of it. Run again it writes the
    same bytes.
    """
    params = Explain.model_validate(item["params"])
    prober = _prober(item["plan"], item["model"], task_cores())
    stored = tables.read_rows(item["frames"], item["rows"], ["jpeg"])["jpeg"].to_pylist()
    frames = np.stack([resize(decode_picture(content), *prober.plan.params.size) for content in stored])
    found = explained(frames, item["middle"], item["class"], params, prober, item["seed"])
    atomic_json(Path(item["target"]), found)
    seal(Path(item["target"]))
    return {}


class Prober:
    """The whole model on changed sequences of frames: backbone by an engine, head by torch."""

    def __init__(self, plan: Plan, engine: Engine, head: torch.nn.Module):
        self.plan, self.engine, self.head = plan, engine, head

    @torch.inference_mode()
    def probabilities(self, frames: np.ndarray, middle: int) -> np.ndarray:
        """(N, C) float32 of frame `middle` of each sequence (N, T, H, W, 3) uint8 RGB."""
        count, time = frames.shape[:2]
        now = np.arange(count * time)
        other = (np.arange(count)[:, None] * time + before(time)).ravel()
        vectors = self.engine(frames.reshape(-1, *frames.shape[2:]), now, other)
        logits = self.head(torch.from_numpy(vectors).reshape(count, time, -1))
        return logits[:, middle].softmax(-1).numpy()


def explained(frames: np.ndarray, middle: int, kind: int, params: Explain, prober: Prober, seed: int) -> dict:
    """What is kept of a frame: `frames` (T, H, W, 3) uint8 RGB, the frame explained in the `middle`, class `kind`.

    Of two animals each is enough for the class, so that neither weighs much. Hence rounds: what was found is switched
    off for good, and where the frame is still called the class, what is left is explained anew.
    """

    def score(pictures: np.ndarray) -> np.ndarray:
        return prober.probabilities(pictures, middle)[:, kind]

    cuts = [lime.superpixels(frames[middle], count, params.compactness) for count in params.superpixels]
    off, shown, rounds = lime.faded(frames, cuts[0]), frames, []
    while len(rounds) < params.rounds:
        batch, parts = max(1, params.batch // len(frames)), []
        for number, labels in enumerate(cuts):
            on = lime.draws(int(labels.max()) + 1, params.samples, np.random.default_rng([seed, len(rounds), number]))
            parts.append((labels, lime.explain(shown, labels, on, score, params.kernel_width, params.penalty, batch)))
        found = heat.heat_map(parts, params.smooth)
        chosen = judge.candidates(shown, off, found, params.thresholds, params.min_share, score)
        rounds.append(
            {
                "probability": parts[0][1].score,
                "fit": float(np.mean([explanation.fit for _, explanation in parts])),
                "heat": heat.png(found).hex(),
                "candidates": [one.plain() for one in chosen],
            }
        )
        best = max(chosen, key=lambda one: one.merit, default=None)
        if best is None or best.hidden < judge.ALONE:  # without what was found it is not of the class: that was all
            break
        shown = np.where(heat.inside(best.boxes, found.shape)[..., None], off, shown)
    return {"rounds": rounds}


def read_explained(file: Path) -> list[dict]:
    """The rounds of what `explain_frame` wrote, with their candidates as such."""
    rounds = json.loads(file.read_text())["rounds"]
    return [one | {"candidates": _candidates(one), "heat": bytes.fromhex(one["heat"])} for one in rounds]


def _candidates(round_: dict) -> list[judge.Candidate]:
    rows = round_["candidates"]
    return [judge.Candidate(**row | {"boxes": _tuples(row["boxes"]), "kept": tuple(row["kept"])}) for row in rows]


def _tuples(boxes: list[list[float]]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(box) for box in boxes)


@cache
def _prober(plan: str, model: str, threads: int) -> Prober:
    torch.set_num_threads(threads)
    found = Plan.parse(plan)
    return Prober(found, load(found, threads), load_model(model).head)
