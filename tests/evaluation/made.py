"""Makes real clips, and workspaces with tables and a model of them, ready for the evaluation stage."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
import yaml

from components.core import media
from components.core.files import file_sha256
from components.core.recipe import load_recipe
from components.core.tables import ANNOTATIONS, CATALOG, FRAMES, features_schema, write_shard
from components.tasks.classification.model import new_head, save_model

CLASSES = ("normal", "suspicious")
NTSC = Fraction(30000, 1001)


def write_clip(path: Path, codec: str, frames: int = 40, rate: Fraction = NTSC, size=(96, 64), **options) -> Path:
    """A clip of a red square that wanders over a dark ramp, by the encoder `codec`; `options` are the container's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = size
    ramp = np.linspace(20, 120, width, dtype=np.uint8)[None, :, None].repeat(height, 0).repeat(3, 2)
    with av.open(str(path), "w", options={"fflags": "+bitexact", **options}) as out:
        stream = out.add_stream(codec, rate=rate, options={"flags": "+bitexact", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(frames):
            picture = ramp.copy()
            left = 3 + (index * 2) % (width - 24)
            picture[20:40, left : left + 18] = (220, 40, 40)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = index, 1 / rate
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def build(workspace: Path, clips: list[tuple[Path, str, list[int]]], fps: str = "10", noise: float = 0.5, **sections):
    """Tables and a model below `workspace`/data/made for clips (path, split, class index of each frame, -1 unlabelled).

    Vectors are the label plus seeded noise, smoothed over time; the head is a fixed logistic regression on them.
    """
    body = {
        "task": {"classes": list(CLASSES), "positive": CLASSES[1]}, "source": "scenes", "frames": {"fps": fps},
        "training": {"lr": 0.01, "penalty": 0.001}, "evaluation": {"gap_s": 0.3}, **sections,
    }  # fmt: skip
    (workspace / "params.yaml").write_text(yaml.safe_dump({"recipes": {"made": body}}))
    (workspace / "dvc.yaml").write_text("stages: {}\n")
    recipe = load_recipe("made", workspace / "params.yaml")
    rng, folder = np.random.default_rng(5), workspace / "data" / "made"
    catalog, annotations = [], []
    for path, split, labels in clips:
        info, digest = media.probe_video(path), file_sha256(path)
        asset, base, pts = digest[:16], info.time_base, info.pts.tolist()
        catalog.append(
            {"asset_id": asset, "uri": path.relative_to(workspace).as_posix(), "name": path.name, "kind": "video",
             "status": "ok", "sha256": digest, "bytes": path.stat().st_size, "codec": info.codec, "width": info.width,
             "height": info.height, "frame_count": len(pts), "first_pts": pts[0], "last_pts": pts[-1],
             "time_base_num": base.numerator, "time_base_den": base.denominator, "split": split}
        )  # fmt: skip
        for index, label in enumerate(labels):
            if label >= 0:
                row = {"asset_id": asset, "first_pts": pts[index], "last_pts": pts[index], "class": CLASSES[label]}
                annotations.append(row | {"source": "human", "weight": 1.0})
        frames, features = [], []
        wander = np.convolve(rng.normal(0, noise * 3, len(pts) + 8), np.ones(9) / 9, "valid")
        for frame in media.read_frames(path, media.TimeSampler(recipe.frames.fps)):
            key = {"frame_id": f"{asset}-{frame.index:08d}", "asset_id": asset, "frame_index": frame.index}
            key["pts"] = frame.pts
            light, contrast, sharp = media.statistics(frame.rgb)
            frames.append(
                {**key, "time_base_num": base.numerator, "time_base_den": base.denominator,
                 "width": frame.rgb.shape[1], "height": frame.rgb.shape[0], "jpeg": media.encode_jpeg(frame.rgb, 92),
                 "brightness": light, "contrast": contrast, "sharpness": sharp, "perceptual_hash": 0}
            )  # fmt: skip
            vector = [float(labels[frame.index] == 1) + wander[frame.index], rng.normal(0, 0.2)]
            features.append({**key, "vector": vector})
        write_shard(folder / "frames" / f"{asset}.parquet", frames, FRAMES)
        write_shard(folder / "features" / f"{asset}.parquet", features, features_schema(2))
    write_shard(folder / "catalog" / "part-00000.parquet", catalog, CATALOG)
    annotations.sort(key=lambda row: (row["asset_id"], row["first_pts"]))
    write_shard(folder / "annotations" / "part-00000.parquet", annotations, ANNOTATIONS)
    form = {"kind": "logistic", "dimension": 2, "classes": 2, "hidden": 4, "reach": 0, "dropout": 0.0}
    state = new_head(form, 0).state_dict()
    weight = next(name for name, value in state.items() if value.shape == (2, 2))
    state[weight] = torch.tensor([[0.0, 0.0], [4.0, 1.0]])
    state[weight.replace("weight", "bias")] = torch.tensor([0.0, -2.4])
    save_model(folder / "model", state, {"head": form, "classes": list(CLASSES), "threshold": 0.4375})
    return recipe


def place(workspace: Path, footage, **sections):
    """Copies the footage into the workspace and builds its tables; returns the recipe."""
    clips = []
    for path, split, labels in footage:
        copy = workspace / "clips" / path.name
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(path.read_bytes())
        clips.append((copy, split, labels))
    return build(workspace, clips, **sections)
