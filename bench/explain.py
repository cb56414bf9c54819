"""LIME on Spark against the reference package `lime`, and the light detector against both, on the same cores.

`python -m bench explain` explains generated pictures of animals by 1,000 samples each with a classifier of the shipped
backbone at 192x256, about 50 superpixels:

    reference, as one would write it    lime_image with the same superpixels, the network by torch eager
    reference, our engine               the same, but pictures are scored by the project's engine
    here, N workers                     the unit of work of the stage explain on Spark's local[N], without its start

and times the light detector on one picture at a time in ONNX Runtime. Prints seconds per picture and ratios. The
weights of the classifier's head and of the detector are random: they do not change the time. Take a quiet machine.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from lime.lime_image import LimeImageExplainer

from components.core import lime, media, tables
from components.core.recipe import Detector, Explain, Features, parse_recipe
from components.core.spark import map_items, spark_session
from components.explain import work
from components.pictures.wild import WildSpec, generate
from components.tasks import engines
from components.tasks.classification.heads import Head
from components.tasks.classification.model import load_model, save_model
from components.tasks.detection import export
from components.tasks.detection.model import detector_form, load_detector, new_network, save_detector
from components.tasks.engines import graph
from components.tasks.engines.choice import planned
from components.tasks.featurizer import build_featurizer

SIZE, SAMPLES, SUPERPIXELS = (192, 256), 1000, 50
FEATURES = Features(size=SIZE, parts=("mean", "max"))
PARAMS = Explain(superpixels=(SUPERPIXELS,), samples=SAMPLES, rounds=1)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench explain", description=__doc__)
    parser.add_argument("--pictures", type=int, default=16, help="explained here (default 16)")
    parser.add_argument("--reference", type=int, default=2, help="explained by the reference (default 2)")
    arguments = parser.parse_args()
    cores = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        os.environ["SIGHTLINE_WORKSPACE"] = folder
        (root / "dvc.yaml").write_text("stages: {}\n")
        pictures = write_pictures(root, arguments.pictures)
        write_classifier(root / "model")
        seconds = {"reference, as one would write it": reference(pictures[: arguments.reference], eager(root, cores))}
        seconds["reference, our engine"] = reference(pictures[: arguments.reference], by_engine(root, cores))
        for workers in sorted({1, cores}):
            seconds[f"here, {workers} worker{'s' * (workers > 1)}"] = here(root, len(pictures), workers)
        detector = light(root, pictures[0], cores)
    best = seconds[f"here, {cores} worker{'s' * (cores > 1)}"]
    print(f"{cores} cores, {SAMPLES} samples of a picture of {SIZE[0]}x{SIZE[1]}, about {SUPERPIXELS} superpixels")
    for name, value in seconds.items():
        print(f"{name:34}{value:9.3f} s/picture   {value / best:6.2f} times the last")
    print(f"{'the light detector':34}{detector:9.5f} s/picture")
    slowest = seconds["reference, as one would write it"]
    print(f"LIME over the detector: {best / detector:.0f} times here, {slowest / detector:.0f} times by the reference")


def write_pictures(root: Path, count: int) -> list[np.ndarray]:
    """A frames shard of so many pictures in the workspace; the pictures, (H, W, 3) uint8 RGB, at the model's size."""
    generate(WildSpec(seed=1, pictures=max(20, 2 * count), empty=0.4, several=0.3, camouflage=0.2), root / "wild")
    files = sorted((root / "wild" / "pictures").glob("*.jpg"))[:count]
    names = [field.name for field in tables.FRAMES]
    rows = []
    for number, file in enumerate(files):
        asset = f"{number:016x}"
        values = (f"{asset}-00000000", asset, 0, 0, 1, 1, 480, 360, file.read_bytes(), 1.0, 1.0, 1.0, 0)
        rows.append(dict(zip(names, values, strict=True)))
    tables.write_shard(root / "frames" / "pictures-00000.parquet", rows, tables.FRAMES)
    return [media.resize(media.read_picture(file), *SIZE) for file in files]


def write_classifier(folder: Path) -> None:
    """A linear head of random weights on the shipped backbone's vectors."""
    dimension = build_featurizer(FEATURES).dimension
    form = {"kind": "linear", "dimension": dimension, "classes": 2, "hidden": 8, "reach": 0, "dropout": 0.0}
    head = Head(**form)
    with torch.no_grad():
        head.frame[1].weight.normal_(0, 0.05, generator=torch.Generator().manual_seed(0))
    save_model(folder, head.state_dict(), {"head": form, "classes": ["nothing", "animal"], "threshold": 0.5})


def eager(root: Path, threads: int):
    """Pictures (N, H, W, 3) -> probabilities (N, 2) by torch."""
    torch.set_num_threads(threads)
    featurizer, head = build_featurizer(FEATURES), load_model(root / "model").head

    @torch.inference_mode()
    def score(pictures: np.ndarray) -> np.ndarray:
        return head(featurizer(torch.from_numpy(pictures)[:, None]))[:, 0].softmax(-1).numpy()

    return score


def by_engine(root: Path, threads: int):
    """The same by the project's engine."""
    plan = graph.ready(planned(FEATURES, SAMPLES * 100))
    prober = work.Prober(plan, engines.load(plan, threads), load_model(root / "model").head)
    return lambda pictures: prober.probabilities(pictures[:, None], 0)


def reference(pictures: list[np.ndarray], score) -> float:
    """Seconds per picture of the reference package."""
    explainer = LimeImageExplainer(random_state=0)
    began = time.perf_counter()
    for picture in pictures:
        labels = lime.superpixels(picture, SUPERPIXELS, PARAMS.compactness)
        explainer.explain_instance(
            picture, score, labels=(1,), top_labels=None, num_features=SUPERPIXELS, num_samples=SAMPLES,
            segmentation_fn=lambda _, labels=labels: labels,
        )  # fmt: skip
    return (time.perf_counter() - began) / len(pictures)


def here(root: Path, count: int, workers: int) -> float:
    """Seconds per picture of the stage's work on so many Spark workers, once they are warm."""
    plan = graph.ready(planned(FEATURES, SAMPLES * 100)).text()
    params = PARAMS.model_dump(mode="json", exclude={"pictures"})
    items = [
        {
            "frames": str(root / "frames" / "pictures-00000.parquet"), "rows": [row], "middle": 0, "class": 1,
            "params": params, "plan": plan, "model": str(root / "model"), "seed": row,
            "target": str(root / f"out-{workers}" / f"{row}.json"),
        }
        for row in range(count)
    ]  # fmt: skip
    with spark_session("bench", cores=workers) as spark:
        quick = [item | {"params": params | {"samples": 10}, "target": f"{item['target']}.warm.json"} for item in items]
        map_items(spark, quick[: 4 * workers], work.explain_frame, "warm", "pictures")
        began = time.perf_counter()
        map_items(spark, items, work.explain_frame, f"{workers} workers", "pictures")
        return (time.perf_counter() - began) / count


def light(root: Path, picture: np.ndarray, threads: int) -> float:
    """Seconds that the light detector takes for one picture in ONNX Runtime: the median of 200."""
    body = {"task": {"kind": "detection", "classes": ["nothing", "animal"], "positive": "animal"}, "source": "wild"}
    body |= {
        "training": {"head": "detector", "lr": 0.001, "penalty": 0.0},
        "features": FEATURES.model_dump(mode="json"),
    }
    form = detector_form(parse_recipe("bench", body), Detector())
    meta = {"detector": form, "classes": ["nothing", "animal"], "threshold": 0.5}
    save_detector(root / "detector", new_network(form, "shipped", 0).state_dict(), meta)
    export.export_onnx(load_detector(root / "detector"), root / "detector.onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(root / "detector.onnx"), options, providers=["CPUExecutionProvider"])
    taken = []
    for _ in range(220):
        began = time.perf_counter()
        session.run(None, {"frames": picture[None]})
        taken.append(time.perf_counter() - began)
    return float(np.median(taken[20:]))


if __name__ == "__main__":
    main()
