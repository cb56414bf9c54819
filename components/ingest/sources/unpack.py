"""Data sets as they are published -> footage and labels as they are used. The same bytes in, the same bytes out."""

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import av
import cv2
import numpy as np

from components.core.errors import SightlineError
from components.core.files import atomic_directory, atomic_path, atomic_text
from components.ingest.sources.members import Evil, Limits, open_members

SEED = 0
PER_CLASS = 50
PED2_FPS = 10  # by its publications: it comes as pictures
# cpu-independent: x264 may otherwise choose other rounding on another processor.
_H264 = {"preset": "medium", "crf": "15", "x264-params": "cpu-independent=1", "flags": "+bitexact", "threads": "1"}
_PED2 = re.compile(r".*/UCSDped2/Test/(Test\d{3})(_gt)?/\w+\.(tif|bmp)")


def cmaterdb(folder: Path) -> None:
    """`folder`/training-images.npz -> `folder`/images/CLASS/NNNN.png, all of them; NNNN is the place in the array."""
    images, labels = read_pictures(folder / "training-images.npz")
    chosen = ((f"{label}/{index:04d}.png", index) for index, label in enumerate(labels))
    _write(folder / "images", images, chosen)


def bangla_digits(folder: Path) -> None:
    """`folder`/training-images.npz -> `folder`/images50/CLASS/CLASS_NN_srcNNNN.png: PER_CLASS of each class, drawn."""
    images, labels = read_pictures(folder / "training-images.npz")
    _write(folder / "images50", images, _drawn(labels))


def _drawn(labels: np.ndarray) -> Iterable[tuple[str, int]]:
    random = np.random.default_rng(SEED)
    for label in np.unique(labels):
        places = random.permutation(np.flatnonzero(labels == label))[:PER_CLASS]
        yield from ((f"{label}/{label}_{count:02d}_src{index:04d}.png", index) for count, index in enumerate(places))


def read_pictures(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(images (N, height, width, 3) uint8 RGB, labels (N,) integers) of an npz. Raises SightlineError for another."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            images, labels = arrays["images"], arrays["labels"]
        if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8 or labels.shape != images.shape[:1]:
            raise ValueError(f"images {images.shape} {images.dtype}, labels {labels.shape}")
    except (OSError, ValueError, KeyError) as error:
        raise SightlineError(f"{path}: not the pictures and labels of an npz: {error}", "fetch it anew") from None
    return images, labels


def _write(folder: Path, images: np.ndarray, chosen: Iterable[tuple[str, int]]) -> None:
    with atomic_directory(folder) as temporary:
        for name, index in chosen:
            (temporary / name).parent.mkdir(exist_ok=True)
            done, encoded = cv2.imencode(".png", images[index][..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 6])
            if not done:
                raise SightlineError(f"{folder / name}: cannot be encoded as PNG")
            (temporary / name).write_bytes(encoded.tobytes())


def ped2(folder: Path) -> None:
    """`folder`/UCSD_Anomaly_Dataset.tar.gz -> `folder`/videos/TestNNN.mp4 and frame_labels.csv.

    The test clips of Ped2; a frame is abnormal (1) where its published mask has any pixel. Raises SightlineError where
    the archive has not as many masks as frames.
    """
    path = folder / "UCSD_Anomaly_Dataset.tar.gz"
    frames, masks = _ped2_pictures(path)
    if not frames or {clip: len(of) for clip, of in frames.items()} != {clip: len(of) for clip, of in masks.items()}:
        raise SightlineError(f"{path}: not the pictures and masks of UCSD Ped2's test clips", "fetch it anew")
    with atomic_directory(folder / "videos") as temporary:
        for clip, pictures in sorted(frames.items()):
            _write_video(temporary / f"{clip}.mp4", [_gray(path, *item) for item in sorted(pictures.items())])
    rows = ["video,frame_index,label"]
    for clip, pictures in sorted(masks.items()):
        found = (_gray(path, *item).any() for item in sorted(pictures.items()))
        rows += [f"{clip}.mp4,{index},{int(abnormal)}" for index, abnormal in enumerate(found)]
    atomic_text(folder / "frame_labels.csv", "\n".join(rows) + "\n")


def _ped2_pictures(path: Path) -> tuple[dict, dict]:
    """Clip -> name -> encoded picture, of the frames and of the masks."""
    frames, masks = defaultdict(dict), defaultdict(dict)
    try:
        for member in open_members(path, Limits.of(path)):
            match = _PED2.fullmatch(member.name)
            if match and member.kind == "file":
                (masks if match[2] else frames)[match[1]][member.name] = b"".join(member.read())
    except (Evil, ValueError) as error:
        raise SightlineError(f"{path}: {error}", "fetch it anew") from None
    return frames, masks


def _gray(path: Path, name: str, encoded: bytes) -> np.ndarray:
    """(height, width) uint8."""
    picture = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_GRAYSCALE)
    if picture is None:
        raise SightlineError(f"{path}: {name} is no picture", "fetch it anew")
    return picture


def _write_video(path: Path, pictures: list[np.ndarray]) -> None:
    options = {"fflags": "+bitexact"}
    with atomic_path(path) as temporary, av.open(str(temporary), "w", format="mp4", options=options) as container:
        stream = container.add_stream("libx264", rate=PED2_FPS, options=_H264)
        stream.height, stream.width = pictures[0].shape
        stream.pix_fmt, stream.codec_context.thread_count = "yuv420p", 1
        for index, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="gray")
            frame.pts = index
            container.mux(stream.encode(frame.reformat(format="yuv420p")))
        container.mux(stream.encode(None))
