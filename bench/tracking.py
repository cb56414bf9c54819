"""FairMOT: on generated cameras never trained on, on real people, and how fast footage goes through.

`python -m bench tracking [--keep DIR] [generated] [campus] [speed] [memory]` runs these parts, all without a name:

    generated  `sightline run tracking` in a clone of its own: HOTA, MOTA and IDF1 on held-out cameras and places
    campus     TUD-Campus (SIGHTLINE_MIRROR): the same recipe trained on the first half of the sequence's frames alone,
               MobileNetV2 from ImageNet under it; tested on the second half, beside YOLOX-nano's boxes with the same
               tracker on the same frames. Both halves show the same street, and partly the same people.
    speed      `sightline predict` on a generated clip: frames a second through decode, network, tracker, drawing and
               H.264 together, beside the same graph alone in ONNX Runtime on the same frames and cores, in batches
               of 8: one pass at a time on all cores, and one on each
    memory     what the process takes while `sightline predict` goes through one video of 100,000 small frames

`speed` and `memory` need the champion that `generated` leaves. Take a quiet machine.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import torch
import yaml

from components.core import media
from components.core.bundle import GRAPH, Pointer, read_bundle, read_pointer, write_manifest, write_pointer
from components.core.recipe import Tracker
from components.core.show import video_file
from components.core.torchvision_compat import nms
from components.scenes.generate import generate
from components.scenes.spec import SceneSpec
from components.tasks.detection.export import export_onnx
from components.tasks.detection.model import TrainedDetector, load_detector, new_network
from components.tasks.detection.samples import Boxes
from components.tasks.detection.tracking.follow import measurable
from components.tasks.detection.tracking.metrics import tracking_metrics
from components.tracks import mot, tracker

ROOT = Path(__file__).resolve().parents[1]
FIGURES = ("hota", "deta", "assa", "mota", "idf1")
COUNTS = ("id_switches", "false_positives", "misses")
FRAMES, TRAIN, VAL = 71, 31, 36  # of TUD-Campus: trained on, and judged by up to here; the others are the test
CAMPUS = {
    "made_from": "components/ingest/sources",
    "source": "tud-campus",
    "frames": {"fps": None, "max_side": None, "jpeg_quality": 95},
    "features": {"backbone": "mobilenet_v2", "weights": "imagenet", "size": [384, 512], "parts": ["mean"]},
    "validation": {"min_assets": 10, "min_frames_per_class": 3},
}
TRAINING = {"epochs": 100, "batch_size": 4, "lr": 0.002}
DETECTOR = {"stride": 8, "backbone_rate": 0.3, "batch_norm": "frozen"}
AUGMENT = {"rotate": 3, "translate": 0.2, "scale": 0.5, "flip": True, "colour": 0.4, "noise": 0.02, "erase": 0.2}
YOLOX, PERSON, SIDE, YOLOX_NMS = "yolox_nano.onnx", 0, 416, 0.45
CLASSES = ("nothing", "person")
LOADED = (  # how a process of its own begins that scores as `sightline predict` does
    "import sys, time; from pathlib import Path\n"
    "from components.core import paths\nfrom components.core.bundle import read_pointer\n"
    "from components.serving.batch import loaded, score\n"
    "deployed = paths.state('deployed', 'tracking')\n"
    "model, passes = loaded(deployed, read_pointer(deployed))\n"
)
SMALL, LONG = (96, 128), 100_000  # height and width of the frames of long footage, and how many


def prepare(root: Path, changes: dict) -> None:
    """A clone of the project with the recipe `tracking` alone, changed."""
    subprocess.run(["git", "clone", "-q", str(ROOT), str(root)], check=True)
    document = yaml.safe_load((root / "params.yaml").read_text())
    recipe = document["recipes"]["tracking"]
    for section, values in changes.items():
        within, _, name = section.rpartition(".")
        place = recipe[within] if within else recipe
        place[name] = place.get(name, {}) | values if isinstance(values, dict) else values
    document |= {"recipes": {"tracking": recipe}, "explained": []}
    (root / "params.yaml").write_text(yaml.safe_dump(document, sort_keys=False))


def run(root: Path, *command: str) -> float:
    """Seconds that a `sightline` command takes in the clone."""
    environment = os.environ | {"SIGHTLINE_WORKSPACE": str(root), "PYTHONPATH": str(root)}
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "flows.cli", *command], cwd=root, env=environment, stdout=sys.stderr, check=True
    )
    return time.perf_counter() - began


def measured(root: Path) -> dict:
    """The evaluation's figures, those of boxes by trackeval's names."""
    found = json.loads((root / "data" / "tracking" / "evaluation" / "metrics.json").read_text())
    return found | {"misses": found["missed_boxes"], "false_positives": found["false_positive_boxes"]}


def row(name: str, figures: dict) -> str:
    """A line of the table."""
    shares = "".join(f"{figures[one]:8.3f}" for one in FIGURES)
    return f"{name:36}{shares}" + "".join(f"{int(figures[one]):8d}" for one in COUNTS)


def generated(folder: Path) -> None:
    """The recipe as it is."""
    root = folder / "generated"
    if not root.is_dir():
        prepare(root, {})
    seconds = run(root, "run", "tracking")
    decision = json.loads((root / "data" / "tracking" / "decision.json").read_text())
    figures = measured(root)
    print(f"{figures['assets']} held-out clips, {figures['frames']} frames; {seconds:.0f} s for everything")
    print(row("generated, unseen cameras and places", figures))
    print("promoted" if decision["promoted"] else f"refused: {decision['reasons']}")


def campus(folder: Path) -> None:
    """Trained on the first half of TUD-Campus, beside YOLOX-nano with the same tracker."""
    mirror = Path(os.environ.get("SIGHTLINE_MIRROR", ""))
    if not (mirror / "tud-campus").is_dir():
        sys.exit("campus: SIGHTLINE_MIRROR must name a folder with tud-campus and weights")
    names = [f"{number:06d}.jpg" for number in range(1, FRAMES + 1)]
    split = {"test": names[VAL:], "val": names[TRAIN:VAL], "test_fraction": 0.2, "val_fraction": 0.2, "seed": 7}
    ingest = {"labels": "auto", "uncovered": None, "split": split, "label_map": {"pedestrian": "person"}}
    changes = CAMPUS | {"ingest": ingest, "training": TRAINING, "training.detector": DETECTOR}
    changes |= {"training.augment": AUGMENT, "promotion.gates": {"metric": "mota", "minimum": 0.0}}
    root = folder / "campus"
    if not root.is_dir():
        prepare(root, changes)
    run(root, "run", "tracking")
    print(f"TUD-Campus, frames {VAL + 1} to {FRAMES}, trained on 1 to {TRAIN}, thresholds by the {VAL - TRAIN} between")
    print(row("FairMOT", measured(root)))
    chosen = Tracker(**json.loads((root / "data" / "tracking" / "model" / "model.json").read_text())["tracker"])
    for name, params in (("YOLOX-nano, tracker as it is", Tracker()), ("YOLOX-nano, FairMOT's thresholds", chosen)):
        print(row(name, by_yolox(mirror, names[VAL:], params)))


def by_yolox(mirror: Path, names: list[str], params: Tracker) -> dict:
    """Figures of YOLOX-nano's persons as followed by the project's tracker, of the last frames of TUD-Campus."""
    session = onnxruntime.InferenceSession(mirror / "weights" / YOLOX, providers=["CPUExecutionProvider"])
    rows = mot.read_mot(mirror / "tud-campus" / "gt" / "gt.txt")
    truths, tracks, follower = [], [], tracker.Tracker(params)
    for name in names:
        picture = media.read_picture(mirror / "tud-campus" / "img1" / name)
        scale = np.array([picture.shape[1], picture.shape[0]] * 2)
        here = rows[rows["frame"] == int(Path(name).stem)]
        sides = np.stack([here[side] for side in ("left", "top", "width", "height")], 1).astype(np.float64)
        truths.append(_boxes(np.concatenate([sides[:, :2], sides[:, :2] + sides[:, 2:]], 1) / scale, here["track_id"]))
        boxes, scores = persons(session, picture)
        shown = follower.update(boxes, scores, np.ones(len(boxes), np.int64))
        found = np.array([boxes[one.row] for one in shown]).reshape(-1, 4)
        tracks.append(_boxes(found / scale, [one.track_id for one in shown]))
    return tracking_metrics(measurable("campus", truths, tracks, CLASSES))


def _boxes(corners: np.ndarray, ids) -> Boxes:
    cut = corners.clip(0, 1).astype(np.float32)
    return Boxes(cut, np.ones(len(cut), np.int64), np.ones(len(cut), np.float32), np.array(ids, np.int64))


def persons(session: onnxruntime.InferenceSession, rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (N, 4) in pixels and scores (N,) of the persons that YOLOX finds (Z. Ge et al., 2021)."""
    ratio = min(SIDE / rgb.shape[0], SIDE / rgb.shape[1])
    small = cv2.resize(rgb, (round(rgb.shape[1] * ratio), round(rgb.shape[0] * ratio)))
    canvas = np.full((SIDE, SIDE, 3), 114, np.float32)
    canvas[: small.shape[0], : small.shape[1]] = small[..., ::-1]  # it learned from BGR, 0..255
    out = session.run(None, {session.get_inputs()[0].name: canvas.transpose(2, 0, 1)[None]})[0][0]
    cells, strides = [], []
    for stride in (8, 16, 32):
        across, down = np.meshgrid(np.arange(SIDE // stride), np.arange(SIDE // stride))
        cells.append(np.stack([across.ravel(), down.ravel()], 1))
        strides.append(np.full((len(cells[-1]), 1), stride))
    cells, strides = np.concatenate(cells), np.concatenate(strides)
    middle, size = (out[:, :2] + cells) * strides, np.exp(out[:, 2:4]) * strides
    scores = out[:, 4] * out[:, 5 + PERSON]
    boxes = np.concatenate([middle - size / 2, middle + size / 2], 1) / ratio
    kept = np.flatnonzero(scores >= 0.05)
    kept = kept[nms(torch.from_numpy(boxes[kept]), torch.from_numpy(scores[kept]), YOLOX_NMS).numpy()]
    return boxes[kept].astype(np.float64), scores[kept].astype(np.float64)


def speed(folder: Path) -> None:
    """`sightline predict` against the graph alone."""
    root = folder / "generated"
    deployed = root / ".sightline" / "deployed" / "tracking"
    pointer = read_pointer(deployed)
    if pointer is None:
        sys.exit("speed: needs the champion of `generated`; run that first, with the same --keep")
    bundle = read_bundle(deployed / pointer.folder)
    clip = _clip(folder)
    began = time.perf_counter()
    pictures = [media.resize(frame.rgb, bundle.height, bundle.width) for frame in _frames(clip, bundle.fps)]
    decode = time.perf_counter() - began
    graph = deployed / pointer.folder / GRAPH
    cores = os.cpu_count() or 1
    raw = {
        "graph alone, on all cores": _raw(graph, pictures, 1, cores),
        "graph alone, one on each": _raw(graph, pictures, cores, 1),
    }
    code = (
        LOADED + "began = time.perf_counter(); score(model, [Path(sys.argv[1])], Path(sys.argv[2]), passes)\n"
        "print(time.perf_counter() - began)\n"
    )
    times = []
    for _ in range(3):
        shutil.rmtree(folder / "scores", ignore_errors=True)
        times.append(float(_said(root, root, code, clip, folder / "scores")[-1]))
    whole, frames = min(times), len(pictures)
    print(f"{frames} frames of {clip.name}, {bundle.height}x{bundle.width}, {cores} cores")
    print(f"{'decode and scale alone':26}{frames / decode:8.1f} frames/s")
    for name, seconds in raw.items():
        print(f"{name:26}{frames / seconds:8.1f} frames/s")
    shares = " and ".join(f"{seconds / whole:.2f}" for seconds in raw.values())
    print(f"{'sightline predict':26}{frames / whole:8.1f} frames/s, {shares} of these")


def _raw(graph: Path, pictures: list[np.ndarray], together: int, threads: int) -> float:
    """Seconds that the graph alone takes for these pictures in batches of 8, so many side by side of so many threads
    each; the best of three."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(graph, options, ["CPUExecutionProvider"])
    batches = [np.stack(pictures[at : at + 8]) for at in range(0, len(pictures), 8)]
    with ThreadPoolExecutor(together) as pool:

        def once() -> None:
            for _ in pool.map(lambda batch: session.run(None, {"frames": batch}), batches):
                pass

        once()
        return min(_timed(once) for _ in range(3))


def memory(folder: Path) -> None:
    """One long video through `sightline predict`, by the champion's network for smaller pictures."""
    root = folder / "generated"
    trained = load_detector(root / "data" / "tracking" / "model")
    form = trained.meta["detector"] | {"size": list(SMALL)}
    network = new_network(form, "none", 0)
    network.load_state_dict(trained.network.state_dict())
    small = TrainedDetector(trained.folder, network.eval(), trained.meta | {"detector": form})
    deployed = root / ".sightline" / "deployed" / "tracking"
    bundle = read_bundle(deployed / read_pointer(deployed).folder)
    place = folder / "small" / ".sightline" / "deployed" / "tracking"
    (place / "v1").mkdir(parents=True, exist_ok=True)
    export_onnx(small, place / "v1" / GRAPH)
    made = replace(bundle, height=SMALL[0], width=SMALL[1], fps=None)
    write_pointer(place, Pointer(1, "v1", write_manifest(place / "v1", made).digest))
    long = folder / "long.mp4"
    pictures = [media.resize(frame.rgb, *SMALL) for frame in _frames(_clip(folder), bundle.fps)]
    if not long.is_file():
        with video_file(long, Fraction(1, 10), Fraction(10), "ultrafast") as show:
            for at in range(LONG):
                show(pictures[at % len(pictures)], at)
    code = (
        LOADED + "import psutil, threading\n"
        "seen, me, over = [], psutil.Process(), threading.Event()\n"
        "def look():\n"
        "    while not over.wait(1):\n        seen.append(me.memory_info().rss / 2**20)\n"
        "watch = threading.Thread(target=look); watch.start()\n"
        "began = time.perf_counter()\ndone = score(model, [Path(sys.argv[1])], Path(sys.argv[2]), passes)\n"
        "over.set(); watch.join()\n"
        "sizes = [seen[len(seen) * at // 100] for at in (5, 25, 50, 75, 99)]\n"
        "print(done['frames'], time.perf_counter() - began, *sizes)\n"
    )
    target = folder / "long-scores"
    shutil.rmtree(target, ignore_errors=True)  # what is known is not scored again
    said = _said(root, folder / "small", code, long, target)
    frames, seconds, *sizes = map(float, said)
    print(f"{frames:.0f} frames of {SMALL[0]}x{SMALL[1]} in {seconds:.0f} s, {frames / seconds:.0f} frames/s")
    print("memory after 5, 25, 50, 75 and 99 % of them: " + ", ".join(f"{size:.0f}" for size in sizes) + " MiB")


def _said(root: Path, workspace: Path, code: str, footage: Path, target: Path) -> list[str]:
    """The words that `code` prints, run by the clone's own modules; `footage` and `target` are its arguments."""
    environment = os.environ | {"SIGHTLINE_WORKSPACE": str(workspace), "PYTHONPATH": str(root)}
    command = [sys.executable, "-c", code, str(footage), str(target)]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, cwd=root)
    return done.stdout.split()


def _clip(folder: Path) -> Path:
    """A generated minute."""
    scene = generate(SceneSpec(99, 0, 0, 1, 60.0), folder / "footage")
    return next((scene / "videos" / "test").iterdir())


def _frames(clip: Path, fps: str | None):
    return media.read_frames(clip, media.TimeSampler(Fraction(fps) if fps else None))


def _timed(act) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


PARTS = {"generated": generated, "campus": campus, "speed": speed, "memory": memory}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench tracking", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="which (default: all)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="the workspaces, kept; there already: gone on with")
    arguments = parser.parse_args()
    print(f"{'':36}" + "".join(f"{name:>8}" for name in (*FIGURES, "ids", "fp", "misses")))
    with tempfile.TemporaryDirectory() as temporary:
        folder = (arguments.keep or Path(temporary)).resolve()
        for name in arguments.parts or PARTS:
            PARTS[name](folder)


if __name__ == "__main__":
    main()
