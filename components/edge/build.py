"""From the champion's bundle to an archive for devices: two graphs, their measured accuracy, and the runner's code."""

import shutil
import tempfile
from pathlib import Path
from string import Template

import cv2
import numpy as np
import onnxruntime

from components.core import paths
from components.core.bundle import GRAPH, MANIFEST, Bundle, Pointer, champion_pointer, read_bundle
from components.core.errors import SightlineError
from components.core.files import atomic_json, file_sha256
from components.core.recipe import Recipe
from components.edge.archive import write_archive
from components.edge.cut import cut
from components.edge.device import release as releases
from components.edge.device.model import EdgeModel, load
from components.edge.device.release import FLOAT32, FORMAT, INT8, Release
from components.edge.device.selftest import EXPECTED, FOLDER, TOLERANCES, answers
from components.edge.measure import calibration, measured
from components.edge.pins import requirements
from components.edge.quantise import ANY, quantise

CODE = Path(__file__).resolve().parents[2]
CARRIED = (
    "components/__init__.py", "components/core/__init__.py", "components/core/boxes.py", "components/core/bundle.py",
    "components/core/errors.py", "components/core/files.py", "components/edge/__init__.py",
    "components/edge/device/*.py",
    "components/tracks/__init__.py", "components/tracks/association.py", "components/tracks/detections.py",
    "components/tracks/kalman.py", "components/tracks/table.py", "components/tracks/tracker.py",
)  # fmt: skip
PACKAGE = '"""The edge runner, as `python -m edge`."""\n'
TEMPLATES = ("config.toml", "sightline-edge.service", "Dockerfile", ".dockerignore", "README.md")
VECTORS, HEAD = {FLOAT32: "vectors.onnx", INT8: "vectors.int8.onnx"}, "head.onnx"
TRIED, CANDIDATES = 3, 30  # pictures of the self-test, out of so many
DIGITS = 6  # of a probability
EXACT = 1e-5  # in probability: so far the whole graph and its parts may be apart
DETECTOR = "int8 was not made: boxes of a quantised detector move, and nothing here measures by how much"


def champion(recipe: str) -> tuple[Pointer, Path]:
    """The pointer to the champion of this workspace, and the folder of its bundle. Raises SightlineError."""
    deployed = paths.state("deployed", recipe)
    pointer = champion_pointer(deployed, recipe)
    if read_bundle(deployed / pointer.folder).digest != pointer.digest:
        raise SightlineError(f"{deployed / pointer.folder}: is not what the pointer names", "run the deployment stage")
    return pointer, deployed / pointer.folder


def build(
    recipe: Recipe, target: Path, limit: float, int8: bool = True, public_key: str = "", int8_for: str = ANY
) -> dict:
    """Writes the archive of the recipe's champion; returns its manifest. The same champion, tables and options give the
    same bytes on the same machine.

    `limit`: how much int8 may lose in any figure and still be the default; `int8`: False leaves it out; `int8_for`: the
    processors that it is for, see `quantise`. Raises SightlineError where there is no champion, or the tables that it
    is measured on are not there.
    """
    pointer, source = champion(recipe.name)
    bundle = read_bundle(source)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copyfile(source / MANIFEST, folder / MANIFEST)
        graphs, moves = _write_graphs(source / GRAPH, folder, bundle)
        model = _precision(recipe, folder, bundle, moves, graphs, limit, int8_for if int8 else None)
        manifest = {
            "format": FORMAT, "recipe": recipe.name, "version": pointer.version, "digest": pointer.digest,
            "kind": bundle.kind, "classes": list(bundle.classes), "positive": bundle.positive,
            "threshold": bundle.threshold, "fps": bundle.fps, "moves": moves, "graphs": graphs, "model": model,
        }  # fmt: skip
        _write_selftest(folder, manifest, bundle)
        _write_code(folder)
        _write_templates(folder, manifest, public_key)
        manifest["files"] = {
            file.relative_to(folder).as_posix(): file_sha256(file)
            for file in sorted(folder.rglob("*"))
            if file.is_file()
        }
        atomic_json(folder / releases.MANIFEST, manifest)
        write_archive(folder, target)
    return manifest


def _write_graphs(source: Path, folder: Path, bundle: Bundle) -> tuple[dict[str, list[str]], bool]:
    """The names of the float32 graph's files, and whether its vectors hold motion. Raises SightlineError where the two
    parts of a cut graph are not the whole."""
    if bundle.finds_boxes:
        shutil.copyfile(source, folder / GRAPH)
        return {FLOAT32: [GRAPH]}, False
    names = [VECTORS[FLOAT32], HEAD]
    files = [folder / name for name in names]
    cut(source, *files)
    model = EdgeModel(files, bundle, True)
    pictures = [model.prepare(one) for one in _examples(bundle, TRIED)]
    whole = onnxruntime.InferenceSession(str(source), providers=["CPUExecutionProvider"])
    wanted = whole.run(["probabilities"], {"frames": np.stack(pictures)[None]})[0][0]
    # A picture's vector is another beside another one before it where there is motion in it.
    (alone,), (_, beside) = model.vectors(pictures[1:2]), model.vectors(pictures[:2])
    model.moves = not np.allclose(alone, beside, 1e-3, 1e-3)
    apart = np.abs(np.stack(list(model.probabilities(pictures))) - wanted).max()
    if not apart <= EXACT:  # false for what is no number
        raise SightlineError(f"{source}: its two parts are {apart:.1e} off the whole", "see components/edge/cut.py")
    return {FLOAT32: names}, model.moves


def _precision(
    recipe: Recipe, folder: Path, bundle: Bundle, moves: bool, graphs: dict[str, list[str]], limit: float,
    int8_for: str | None,
) -> dict:  # fmt: skip
    """What the manifest says of the graphs; writes the int8 one, and notes it in `graphs`, where there is to be one."""
    if int8_for is None or bundle.finds_boxes:
        return {"default": FLOAT32, "why": DETECTOR if bundle.finds_boxes else "int8 was not asked for"}

    def model(precision: str) -> EdgeModel:
        return EdgeModel([folder / name for name in graphs[precision]], bundle, moves)

    one = measured(recipe, model(FLOAT32))
    body = {"limit": limit, "frames": len(one.calls.labels), FLOAT32: one.figures()}
    pictures = calibration(recipe, model(FLOAT32))
    if not quantise(folder / VECTORS[FLOAT32], folder / VECTORS[INT8], pictures, int8_for):
        return body | {"default": FLOAT32, "why": "the graph has no convolutions that could be quantised"}
    graphs[INT8] = [VECTORS[INT8], HEAD]
    other = measured(recipe, model(INT8))
    body |= {INT8: other.figures(), "int8_for": int8_for}
    if not body[FLOAT32]:
        return body | {"default": FLOAT32, "why": "no held-out frame has a label, so that int8 cannot be judged"}
    body["agreement"] = round(float((one.calls.called == other.calls.called).mean()), DIGITS)
    name, loss = max(
        ((name, body[FLOAT32][name] - body[INT8][name]) for name in body[FLOAT32]), key=lambda pair: pair[1]
    )
    told = f"{name} {body[FLOAT32][name]:.4f} in float32, {body[INT8][name]:.4f} in int8, on {body['frames']} frames"
    if loss <= limit:
        return body | {"default": INT8, "why": f"int8 is within the limit of {limit:g}: {told}"}
    return body | {"default": FLOAT32, "why": f"int8 loses more than the limit of {limit:g}: {told}"}


def _examples(bundle: Bundle, count: int) -> list[np.ndarray]:
    """Generated pictures, (H, W, 3) uint8 RGB, half as large again as the graph's: coarse noise, darker or lighter, of
    more or less contrast, and a block on it."""
    pictures = []
    height, width = 3 * bundle.height // 2, 3 * bundle.width // 2
    for seed in range(count):
        random = np.random.default_rng(seed)
        low = int(random.integers(0, 160))
        ground = random.integers(low, low + random.integers(8, 95), (6, 8, 3), dtype=np.uint8)
        rgb = cv2.resize(ground, (width, height), interpolation=cv2.INTER_NEAREST)
        left, top = int(random.integers(0, 3 * width // 4)), int(random.integers(0, 3 * height // 4))
        rgb[top : top + height // 4, left : left + width // 6] = random.integers(0, 255, 3)
        pictures.append(rgb)
    return pictures


def _write_selftest(folder: Path, manifest: dict, bundle: Bundle) -> None:
    """The generated pictures of which the model is the least sure: there it shows if much is worked out otherwise."""
    (folder / FOLDER).mkdir()
    made = Release(folder, manifest, bundle)
    model = load(made, FLOAT32, 1)
    pictures = _examples(bundle, CANDIDATES)
    sure = [float(next(model.probabilities([model.prepare(rgb)])).max()) for rgb in pictures]
    names = []
    for place in sorted(range(CANDIDATES), key=lambda one: (sure[one], one))[:TRIED]:
        names.append(f"{place}.png")
        cv2.imwrite(str(folder / FOLDER / names[-1]), cv2.cvtColor(pictures[place], cv2.COLOR_RGB2BGR))
    expected = {
        precision: [[round(float(value), DIGITS) for value in row] for row in answers(made, precision, names)]
        for precision in manifest["graphs"]
    }
    tolerances = {precision: TOLERANCES[precision] for precision in expected}
    atomic_json(folder / FOLDER / EXPECTED, {"pictures": names, "tolerances": tolerances, **expected})


def _write_code(folder: Path) -> None:
    for pattern in CARRIED:
        for file in sorted(CODE.glob(pattern)):
            target = folder / file.relative_to(CODE)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
    (folder / "edge").mkdir()
    (folder / "edge" / "__init__.py").write_text(PACKAGE)
    shutil.copyfile(CODE / "components/edge/device/__main__.py", folder / "edge" / "__main__.py")
    (folder / "requirements.txt").write_text(requirements())


def _write_templates(folder: Path, manifest: dict, public_key: str) -> None:
    words = {
        "recipe": manifest["recipe"], "version": manifest["version"], "fps": manifest["fps"] or "every frame",
        "default": manifest["model"]["default"], "why": manifest["model"]["why"], "public_key": public_key,
    }  # fmt: skip
    for name in TEMPLATES:
        text = Template((CODE / "components/edge/files" / name).read_text()).substitute(words)
        (folder / name).write_text(text)
