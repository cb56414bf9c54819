"""The bundle: all that is needed to serve a model, in one folder. The deployment writes it, the service reads it.

    bundle.json         what the model is, how to feed it, where it came from, the digest of every other file
    model.onnx          backbone and head, or the whole detector, in one graph
    head.safetensors    the trained head's tensors, for whoever wants them without a graph; of a detector, in place
                        of them, detector.safetensors: all of its tensors

Published bundles of a recipe lie side by side in one folder, `v1`, `v2`, ... by registry version, and beside them
`champion.json`, the pointer, says which of them is to be served. The pointer names the bundle's digest, and the bundle
those of its files, so that nothing is served whose bytes are not the ones that were deployed.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path

from components.core.errors import SightlineError
from components.core.files import atomic_json, file_sha256, read_json, value_sha256

FORMAT = 1
MANIFEST = "bundle.json"
GRAPH = "model.onnx"
POINTER = "champion.json"
CLASSIFICATION, DETECTION = "classification", "detection"  # as task.kind in the recipe
EVEN = 0.5  # from this score on a box is called where the model has no threshold


@dataclass(frozen=True)
class Bundle:
    """The manifest.

    The graph takes pictures in uint8 RGB, each scaled so that its longer side is at most `max_side`
    (`components.core.media.fit`) and then to (`height`, `width`) (`media.resize`). What more depends on `kind`:

    - classification: `frames` (batch, time, height, width, 3), sequences of neighbouring frames of one source, sampled
      at `fps`; a single picture is a sequence of one. It returns `probabilities`, float32 (batch, time, classes), and
      `vectors`, float32 (batch, time, D), what the backbone makes of each frame, as the features table has it (graphs
      of before there was such an output lack it).
    - detection: `frames` (batch, height, width, 3), every frame by itself. It returns `boxes`, float32 (batch, K, 4)
      left, top, right, bottom in units of the picture, 0..1; `scores`, float32 (batch, K), best first, 0 where there is
      no box; `classes`, int64 (batch, K), places in `classes` of which the first is the background and never found; and
      `probabilities`, float32 (batch, classes), of the frame as a whole. Boxes are called from `box_threshold` on.
      Where the network says what a box looks like, it returns `embeddings` too, float32 (batch, K, D) of length 1, 0
      where there is no box: the cosine of two is high where they show the same object. Those of two models have
      nothing to do with one another.

    `tracker`, of a detector: what it finds in frame after frame of one source is followed by `components.tracks` with
    these parameters (`components.core.recipe.Tracker`); None: it is not. Frames count at `fps`.

    Of two classes the positive one is called from `threshold` on; of more, or where `positive` is None, the likeliest.
    `lineage`: digests of the tables and parameters it was made from.
    """

    recipe: str
    classes: tuple[str, ...]
    positive: str | None
    threshold: float | None
    height: int
    width: int
    max_side: int | None
    fps: str | None
    window_frames: int
    lineage: dict[str, str]
    metrics: dict[str, float]
    digests: dict[str, str] = field(default_factory=dict)
    format: int = FORMAT
    kind: str = CLASSIFICATION
    tracker: dict | None = None

    @property
    def tracks(self) -> bool:
        """True where what is found has an identity from frame to frame."""
        return self.tracker is not None

    @property
    def finds_boxes(self) -> bool:
        """True where the graph says where in a frame a class is."""
        return self.kind == DETECTION

    @property
    def box_threshold(self) -> float:
        """The score from which a detector's box is called: `threshold`, or EVEN without one."""
        return EVEN if self.threshold is None else self.threshold

    @property
    def by_threshold(self) -> bool:
        """True where the positive class is called from the threshold on."""
        return self.positive is not None and len(self.classes) == 2

    @property
    def digest(self) -> str:
        """One digest for the whole bundle: that of bundle.json, which holds the digest of every other file."""
        return value_sha256(self.body())

    def body(self) -> dict:
        """What bundle.json holds. Classification came first, then detection: manifests of the first have no `kind`, of
        the second no `tracker`, and keep their digests."""
        body = asdict(self)
        if not self.finds_boxes:
            del body["kind"]
        if not self.tracks:
            del body["tracker"]
        return body


@dataclass(frozen=True)
class Pointer:
    """What is to be served: registry version, folder of its bundle beside the pointer, digest of that bundle."""

    version: int
    folder: str
    digest: str


def model_tag(recipe: str, pointer: Pointer) -> str:
    """The model that a pointer names in one line, for headers, logs and the metadata of scores."""
    return f"{recipe}/v{pointer.version}@{pointer.digest[:12]}"


def write_manifest(folder: Path, bundle: Bundle) -> Bundle:
    """Writes bundle.json last, with the digests of the files already in `folder`; returns the bundle with them."""
    digests = {file.name: file_sha256(file) for file in sorted(folder.iterdir()) if file.name != MANIFEST}
    whole = Bundle(**asdict(bundle) | {"classes": tuple(bundle.classes), "digests": digests})
    atomic_json(folder / MANIFEST, whole.body())
    return whole


def read_bundle(folder: str | Path, verify: bool = True) -> Bundle:
    """The manifest of a bundle folder; with `verify`, every file's digest is checked first. Raises SightlineError."""
    folder = Path(folder)
    body = read_json(folder / MANIFEST, "run the deployment stage")
    if body.get("format") != FORMAT:
        raise SightlineError(
            f"{folder}: bundle format {body.get('format')}, this reader knows {FORMAT}", "build it anew"
        )
    try:
        bundle = Bundle(**body | {"classes": tuple(body["classes"])})
        names = set(bundle.digests)
    except (KeyError, TypeError) as error:
        raise SightlineError(f"{folder / MANIFEST}: not a bundle ({error})", "run the deployment stage") from None
    if bundle.kind not in (CLASSIFICATION, DETECTION):
        raise SightlineError(f"{folder / MANIFEST}: kind {bundle.kind!r} is not known here", "build it anew")
    if bundle.tracks and not (bundle.finds_boxes and isinstance(bundle.tracker, dict)):
        raise SightlineError(f"{folder / MANIFEST}: its tracker has no boxes to follow", "build it anew")
    if GRAPH not in names:
        raise SightlineError(f"{folder / MANIFEST}: names no {GRAPH}", "run the deployment stage")
    for name in sorted(names) if verify else ():
        file = folder / name
        if not file.is_file() or file_sha256(file) != bundle.digests[name]:
            raise SightlineError(f"{file}: its bytes are not those the bundle names", "publish the bundle again")
    return bundle


def write_pointer(deployed: Path, pointer: Pointer) -> None:
    """Writes the pointer of a folder of published bundles, whole or not at all."""
    atomic_json(deployed / POINTER, asdict(pointer))


def champion_pointer(deployed: Path, recipe: str) -> Pointer:
    """The pointer of a recipe's published bundles. Raises SightlineError, also where there is none."""
    pointer = read_pointer(deployed)
    if pointer is None:
        raise SightlineError(f"{recipe} has no champion here", f"sightline run {recipe}")
    return pointer


def read_pointer(deployed: Path) -> Pointer | None:
    """The pointer of a folder of published bundles; None where there is none yet. Raises SightlineError."""
    file = deployed / POINTER
    if not file.exists():
        return None
    remedy = "remove it and run the deployment stage"
    body = read_json(file, remedy)
    try:
        pointer = Pointer(int(body["version"]), str(body["folder"]), str(body["digest"]))
    except (KeyError, TypeError, ValueError) as error:
        raise SightlineError(f"{file}: not a pointer to a bundle ({error})", remedy) from None
    if Path(pointer.folder).name != pointer.folder or pointer.folder in ("", ".", ".."):
        raise SightlineError(f"{file}: {pointer.folder!r} is not a folder beside it", remedy)
    return pointer
