"""People in generated clips, from footage to a tracker that is served and writes its tracks, at a small size.

Slow, because it runs the nine stages for real, with Spark, Horovod, MLflow and Prefect.
"""

import base64
import json

import av
import httpx
import pyarrow.parquet as pq
import pytest

from components.core.media import encode_jpeg
from components.tracks.mot import read_mot
from tests.e2e.conftest import Workspace, served

pytestmark = pytest.mark.slow
SMALL = {
    "ingest": {
        "labels": "boxes.csv",
        "scenes": {"seed": 3, "train_clips": 6, "val_clips": 3, "test_clips": 4, "seconds": 4.0},
    },
    "features": {"size": [144, 192]},
    "validation": {"min_assets": 2},
    "training": {"epochs": 6},
}


def test_from_footage_to_tracks(tmp_path):
    workspace = Workspace(tmp_path / "workspace", "tracking", SMALL)
    # So little footage teaches little: what is tested here is that all of it fits together.
    workspace.change(promotion={"gates": {"metric": "mota", "minimum": -10.0}})
    workspace.sightline("run", "tracking")
    data = workspace.root / "data" / "tracking"
    metrics = json.loads((data / "evaluation" / "metrics.json").read_text())
    assert {"hota", "mota", "idf1", "id_switches", "ap50"} <= set(metrics) and "frame_auc" not in metrics
    assert json.loads((data / "decision.json").read_text())["promoted"]
    model = json.loads((data / "model" / "model.json").read_text())
    assert model["tracker"]["tuned"] and {"train_id_loss", "val_hm_loss", "val_ap50"} <= set(model["history"][-1])
    predictions = pq.read_table(data / "evaluation" / "predictions")
    assert {"sequence", "tracked", "tracked_ids", "marked", "marked_ids"} <= set(predictions.column_names)

    clip = next((workspace.root / ".sightline" / "scenes").glob("*/videos/test/*.mp4"))
    with av.open(str(clip)) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame, _ in zip(video.decode(video=0), range(5), strict=False)]
    height, width = frames[0].shape[:2]
    with served(workspace) as url:
        for number, frame in enumerate(frames):
            payload = {
                "frame_id": number, "frame_data": base64.b64encode(encode_jpeg(frame, 90)).decode(), "frame_w": width,
                "frame_h": height, "batch_size": 1,
            }  # fmt: skip
            answer = httpx.post(f"{url}/v1/track", json=payload, timeout=30).raise_for_status().json()
            assert answer["frame_id"] == number and isinstance(answer["tracks"], list)
    workspace.sightline("predict", "tracking", str(clip), "-o", "scores")
    scores = workspace.root / "scores"
    (result,) = (scores / "mot").iterdir()
    tracks = pq.read_table(scores / "tracks")
    assert len(read_mot(result)) == len(tracks)
    (drawn,) = (scores / "drawn").iterdir()
    with av.open(str(drawn)) as video:
        shown = sum(1 for _ in video.decode(video=0))
    assert shown == len(pq.read_table(scores / "predictions"))
