"""A detector without a human label, on real photographs: search, weak labels, classifier, LIME, boxes, detector.

`python -m bench wildlife` needs SIGHTLINE_MIRROR with the folders raccoon, kangaroo, camera-trap and weights. In a
workspace of its own it runs `sightline run wildlife` with the recipe `sightings` gathering by the provider `folder`:
raccoon/images is the positive query, kangaroo/images and camera-trap/vj_ga_hu_1 are the negative ones. The 160
photographs of raccoons are split by asset with seed 7, a quarter held out. People's boxes (raccoon/boxes.csv) are used
for the held-out ones alone, to measure by; the median one fills half of its picture. Printed are CorLoc (IoU .5), mean
IoU and recall of the boxes by LIME and by the detector on the same held-out photographs, the detector's AP, and what
two boxes score that anybody could say: the whole picture and one in its middle.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
FEATURES = {"backbone": "mobilenet_v2", "weights": "imagenet", "size": [224, 224], "parts": ["mean", "max"]}
QUERIES = {"positive": ["raccoon/images"], "negative": ["kangaroo/images", "camera-trap/vj_ga_hu_1"]}
SIGHTINGS = {
    "made_from": "components/ingest/search",
    "source": "search",
    "features": FEATURES,
    "training": {"head": "logistic", "epochs": 40, "batch_size": 32, "lr": 0.003, "penalty": 0.01, "augment": {}},
    "explain": {"samples": 200, "rounds": 2},
}
WILDLIFE = {
    "features": FEATURES,
    # 100 noisy boxes are soon learned by heart: few epochs, a backbone that hardly moves, much augmentation. Chosen by
    # agreement with LIME's boxes on the validation split; the trials printed the held-out figures too.
    "training": {"epochs": 16, "batch_size": 8, "lr": 0.001},
    "detector": {"backbone_rate": 0.1, "batch_norm": "frozen"},
    "augment": {
        "rotate": 10,
        "translate": 0.15,
        "scale": 0.5,
        "flip": True,
        "colour": 0.4,
        "noise": 0.02,
        "erase": 0.2,
    },
    "promotion": {"gates": {"metric": "ap50", "minimum": 0.3}},
}
COLUMNS = ("corloc", "mean_iou", "recall50")
ROWS = {"the whole picture": "whole_picture_", "a box in the middle": "centred_", "LIME": "lime_", "the detector": ""}


def prepare(root: Path, mirror: Path) -> None:
    """A clone of the project whose params.yaml holds the two recipes, on the mirror's photographs."""
    subprocess.run(["git", "clone", "-q", str(ROOT), str(root)], check=True)
    document = yaml.safe_load((root / "params.yaml").read_text())
    recipes = {name: document["recipes"][name] for name in ("sightings", "wildlife")}
    search = QUERIES | {"provider": "folder", "endpoint": str(mirror), "negative_pictures": 300}
    explained = {"recipe": "sightings", "truth": str(mirror / "raccoon" / "boxes.csv")}
    for name, changes, ingest in (
        ("sightings", SIGHTINGS, {"search": search}),
        ("wildlife", WILDLIFE, {"explained": explained, "label_map": {"raccoon": "animal"}}),
    ):
        recipe = recipes[name]
        for section, values in (changes | {"ingest": ingest}).items():
            within = recipe["training"] if section in ("detector", "augment") else recipe
            whole = isinstance(values, dict)
            within[section] = within.get(section, {}) | values if whole else values
    document |= {"recipes": recipes, "explained": ["sightings"]}
    (root / "params.yaml").write_text(yaml.safe_dump(document, sort_keys=False))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench wildlife", description=__doc__)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="the workspace, kept; there already: gone on with")
    arguments = parser.parse_args()
    mirror = os.environ.get("SIGHTLINE_MIRROR")
    if not mirror or not (Path(mirror) / "raccoon").is_dir():
        sys.exit("SIGHTLINE_MIRROR must name a folder with raccoon, kangaroo, camera-trap and weights")
    with tempfile.TemporaryDirectory() as temporary:
        root = arguments.keep or Path(temporary) / "workspace"
        if not (root / "params.yaml").is_file():
            prepare(root, Path(mirror).resolve())
        environment = os.environ | {"SIGHTLINE_WORKSPACE": str(root), "PYTHONPATH": str(root)}
        began = time.perf_counter()
        command = [sys.executable, "-m", "flows.cli", "run", "wildlife"]
        subprocess.run(command, cwd=root, env=environment, stdout=sys.stderr, check=True)
        seconds = time.perf_counter() - began
        metrics = json.loads((root / "data" / "wildlife" / "evaluation" / "metrics.json").read_text())
        decision = json.loads((root / "data" / "wildlife" / "decision.json").read_text())
    print(
        f"{int(metrics['boxes'])} true boxes in {metrics['assets']} held-out pictures; {seconds:.0f} s for everything"
    )
    print(f"{'':22}" + "".join(f"{name:>10}" for name in COLUMNS))
    for name, prefix in ROWS.items():
        print(f"{name:22}" + "".join(f"{metrics[prefix + column]:10.3f}" for column in COLUMNS))
    print(f"AP at .5 {metrics['ap50']:.3f}, AP {metrics['ap']:.3f}; frame AUC {metrics['frame_auc']:.3f}")
    print("promoted" if decision["promoted"] else f"refused: {decision['reasons']}")


if __name__ == "__main__":
    main()
