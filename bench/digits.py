"""Handwritten digits: fine-tuning beside the published recipes, over seeds, by the project's own stages.

`python -m bench digits` needs SIGHTLINE_MIRROR with the folder bangla-digits (500 pictures in a folder per class, and
5,000 in training-images.npz). In a workspace of its own it runs ingest, frames and features once for each backbone,
then for each seed of the split (80:20 by asset) ingest, tuning, training and evaluation, and prints what
evaluation/metrics.json says, mean and standard deviation over the seeds:

    finetune    the recipe `digits` of params.yaml as it is, without validation pictures
    article     frozen backbone, Spark MLlib LogisticRegression: maxIter 5, regParam .03, elasticNetParam .5
    cctv        the same with the CCTV article's maxIter 20, regParam .05, elasticNetParam .3

The article itself reports, on 500 pictures of another set with InceptionV3: accuracy .809, F1 .811, precision .842,
recall .809, AUC .901, the last from label-binarised calls.

Measured over 5 seeds: accuracy .985 ± .011 fine-tuned, .890 ± .031 by the article's recipe and .884 ± .053 by the
other, both on SqueezeNet's vectors (18 minutes on two busy cores); on the 5,000, 12 epochs, .994, .894 and .885 (8).
"""

import argparse
import copy
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import yaml

PROJECT = Path(__file__).resolve().parents[1]
MLLIB = {"head": "mllib", "balanced": False, "refit": True}
HEADS = {
    "finetune": {},
    "article": MLLIB | {"max_iter": 5, "penalty": 0.03, "l1_ratio": 0.5},
    "cctv": MLLIB | {"max_iter": 20, "penalty": 0.05, "l1_ratio": 0.3},
}
FROZEN = {"weights": "imagenet", "size": [224, 224], "parts": ["mean"]}
FIGURES = {
    "accuracy": "accuracy", "F1": "f1_macro", "precision": "precision_macro", "recall": "recall_macro",
    "F1 w.": "f1_weighted", "precision w.": "precision_weighted", "recall w.": "recall_weighted",
    "AUC": "roc_auc_macro", "AUC bin.": "roc_auc_binarised",
}  # fmt: skip
PREPARATION, MEASURED = ("ingest", "frames", "features"), ("ingest", "tuning", "training", "evaluation")


class Workspace:
    """A folder of its own for the stages; `recipes` is what its params.yaml holds."""

    def __init__(self, root: Path):
        self.root, self.recipes = root, {}
        (root / "dvc.yaml").write_text((PROJECT / "dvc.yaml").read_text())

    def run(self, recipe: str, stages: tuple[str, ...]) -> None:
        """Runs these stages as commands; ends the measurement with the stage's own words where one fails."""
        (self.root / "params.yaml").write_text(yaml.safe_dump({"recipes": self.recipes}))
        environment = os.environ | {"SIGHTLINE_WORKSPACE": str(self.root)}
        for stage in stages:
            command = [sys.executable, "-m", f"components.{stage}", "--recipe", recipe]
            done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"{stage}@{recipe}: exit {done.returncode}\n{done.stdout[-1000:]}{done.stderr[-3000:]}")

    def metrics(self, recipe: str) -> dict:
        """What the evaluation of this recipe's model says."""
        return json.loads((self.root / "data" / recipe / "evaluation" / "metrics.json").read_text())


def recipes(source: Path, backbone: str, epochs: int | None) -> dict[str, dict]:
    """`trained` and `frozen`: the recipe `digits` on this source, and with another, frozen backbone."""
    base = yaml.safe_load((PROJECT / "params.yaml").read_text())["recipes"]["digits"]
    base |= {"source": str(source)}
    base["ingest"]["split"] |= {"test_fraction": 0.2, "val_fraction": 0.0}
    if epochs:
        base["training"]["epochs"] = epochs
    frozen = copy.deepcopy(base)
    frozen["features"] |= {"backbone": backbone} | FROZEN
    return {"trained": base, "frozen": frozen}


def measure(source: Path, seeds: list[int], backbone: str, epochs: int | None = None) -> dict[str, list[dict]]:
    """Of each head the metrics of each seed, and how long its training took (`seconds`)."""
    found: dict[str, list[dict]] = {head: [] for head in HEADS}
    with tempfile.TemporaryDirectory(prefix="digits-") as folder:
        workspace = Workspace(Path(folder))
        workspace.recipes = recipes(source, backbone, epochs)
        plain = {name: copy.deepcopy(body["training"]) for name, body in workspace.recipes.items()}
        for name in workspace.recipes:
            workspace.run(name, PREPARATION)
        for seed in seeds:
            for head, changes in HEADS.items():
                name = "trained" if head == "finetune" else "frozen"
                workspace.recipes[name]["ingest"]["split"]["seed"] = seed
                workspace.recipes[name]["training"] = plain[name] | changes
                workspace.run(name, MEASURED[:2])
                start = time.monotonic()
                workspace.run(name, MEASURED[2:3])
                seconds = time.monotonic() - start
                workspace.run(name, MEASURED[3:])
                row = workspace.metrics(name) | {"seconds": seconds}
                found[head].append(row)
                print(f"seed {seed}, {head}: accuracy {row['accuracy']:.3f} on {row['labelled_frames']}", flush=True)
    return found


def table(found: dict[str, list[dict]]) -> str:
    """Mean ± standard deviation of the figures, a line per head."""
    lines = ["".join(f"{name:>15}" for name in ("", *FIGURES, "training s"))]
    for head, rows in found.items():
        cells = []
        for key in (*FIGURES.values(), "seconds"):
            values, digits = [row[key] for row in rows], 1 if key == "seconds" else 3
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            cells.append(f"{statistics.mean(values):.{digits}f} ± {spread:.{digits}f}")
        lines.append(f"{head:>15}" + "".join(f"{cell:>15}" for cell in cells))
    return "\n".join(lines)


def unpack(archive: Path, folder: Path) -> Path:
    """The pictures of the npz `archive` as `folder`/CLASS/NNNN.png."""
    with np.load(archive, allow_pickle=False) as arrays:
        images, labels = arrays["images"], arrays["labels"]
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        (folder / str(label)).mkdir(exist_ok=True)
        cv2.imwrite(str(folder / str(label) / f"{number:04d}.png"), image[..., ::-1])
    return folder


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench digits", description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="splits of the 500 pictures: seeds 0 to N-1 (default 5)")
    parser.add_argument("--backbone", default="squeezenet1_1", help="the frozen one (default squeezenet1_1)")
    parser.add_argument("--large", action="store_true", help="the 5,000 pictures too, once")
    arguments = parser.parse_args()
    mirror = os.environ.get("SIGHTLINE_MIRROR")
    pictures = Path(mirror or "") / "bangla-digits"
    if not mirror or not (pictures / "images50").is_dir():
        print("bench digits: skipped: SIGHTLINE_MIRROR names no folder with bangla-digits/images50")
        return 0
    start = time.monotonic()
    found = measure(pictures / "images50", list(range(arguments.seeds)), arguments.backbone)
    print(f"\n500 pictures, {arguments.seeds} seeds, {(time.monotonic() - start) / 60:.1f} min\n{table(found)}")
    if arguments.large:
        start = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="digits-pictures-") as folder:
            large = measure(unpack(pictures / "training-images.npz", Path(folder)), [0], arguments.backbone, epochs=12)
        print(f"\n5,000 pictures, 1 seed, {(time.monotonic() - start) / 60:.1f} min\n{table(large)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
