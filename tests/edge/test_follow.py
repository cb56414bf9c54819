"""A tracker on a device: its assignment beside SciPy's, its identities beside the service's."""

import json
import signal
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from components.core.bundle import read_bundle
from components.core.files import file_sha256
from components.core.media import read_frames
from components.core.recipe import Tracker as TrackerParams
from components.edge.build import build
from components.edge.device.assignment import least_cost
from components.edge.device.model import Given, load
from components.edge.device.release import unpack
from components.edge.ledger import records
from components.serving import batch
from components.serving.tracker import ServedTracker
from components.tracks.tracker import Tracker
from tests.edge import making
from tests.serving import tracking

TIMES = [at for at in range(120) if at % 7 and not 40 < at < 48]  # gaps, and a while in which nothing is seen


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32 - 1), st.sampled_from([None, 0, 1, 3]))
def test_the_assignment_is_scipys(count, width, seed, digits):
    """Of costs that are many alike the total alone: which of equal ones is taken is nobody's to say."""
    random = np.random.default_rng(seed)
    cost = random.random((count, width)) if digits is None else np.round(random.random((count, width)), digits)
    cost = np.minimum(cost, 0.7)
    rows, columns = least_cost(cost)
    wanted = linear_sum_assignment(cost)
    assert rows.tolist() == sorted(set(rows.tolist())) and len(set(columns.tolist())) == len(rows) == min(count, width)
    assert cost[rows, columns].sum() == pytest.approx(cost[wanted].sum(), abs=1e-12)
    free = random.random((count, width))
    assert np.array_equal(least_cost(free), linear_sum_assignment(free))


@pytest.mark.parametrize("appearance", [True, False])
def test_identities_are_those_with_scipy(appearance):
    """A crowd that crosses, hides, comes and goes, with noise in boxes, scores and looks."""
    random = np.random.default_rng(3)
    params = TrackerParams(appearance=appearance, lost_frames=15, min_hits=2)
    device = Tracker(SimpleNamespace(**params.model_dump(mode="json")), least_cost)
    service, shown = Tracker(params), 0
    looks = random.normal(size=(25, 16))
    starts, paces = random.uniform(0, 600, (25, 2)), random.normal(0, 4, (25, 2))
    for at in range(200):
        there = np.flatnonzero((random.random(25) > 0.15) & (np.abs(at - 8 * np.arange(25)) < 90))
        centres = starts[there] + paces[there] * at + random.normal(0, 1, (len(there), 2))
        boxes = np.concatenate((centres - (15, 40), centres + (15, 40)), 1)
        scores, kinds = random.uniform(0.05, 1, len(there)), there % 2
        frame = boxes, scores, kinds, looks[there] + random.normal(0, 0.3, (len(there), 16)), random.choice([1, 1, 2])
        one, other = device.update(*frame), service.update(*frame)
        assert [(t.track_id, t.row, t.kind) for t in one] == [(t.track_id, t.row, t.kind) for t in other]
        shown += len(one)
    assert shown > 1000 and json.dumps(device.state()) == json.dumps(service.state())


@pytest.fixture(scope="module", params=[8, 0], ids=["looks", "no-looks"])
def release(request, tmp_path_factory):
    """The archive of a detector that tracks, unpacked, with embeddings or without; its workspace is `root`."""
    root = tmp_path_factory.mktemp("tracking")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SIGHTLINE_WORKSPACE", str(root))
        (root / "dvc.yaml").write_text("stages: {}\n")
        tracking.publish(root / ".sightline" / "deployed" / tracking.RECIPE, dim=request.param)
        build(SimpleNamespace(name=tracking.RECIPE), root / "a.tar.gz", 0.01)
        yield unpack(root / "a.tar.gz", root / "a")


def test_tracks_are_those_of_the_service(release):
    folder = release.folder.parent / ".sightline" / "deployed" / tracking.RECIPE / "v1"
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    service = ServedTracker(SimpleNamespace(version=1, digest="0" * 64), read_bundle(folder), session)
    model, tracker, wanted, given, before = load(release, "float32", 1), service.begin(), [], [], None
    for at in TIMES:
        rgb = tracking.frame(at, [one for one in range(4) if (at // 13 + one) % 4])
        picture, intervals = model.prepare(rgb), 1.0 if before is None else float(at - before)
        given.append(Given(picture, rgb.shape[:2], intervals))
        wanted.append(service.follow(tracker, service.find([picture]), rgb.shape[:2], intervals))
        before = at
    found = list(model.answers(given))
    assert [one["tracks"] for one in found] == wanted and "boxes" not in found[0]
    assert len({track["track_id"] for tracks in wanted for track in tracks}) >= 4


def test_a_clip_arrives_with_the_identities_of_batch_scoring_also_when_stopped(release, receive, tmp_path):
    """In a process without SciPy and the rest; after a stop it is gone through again, and identities go on."""
    root, receiver = release.folder.parent, receive()
    clip = tracking.write_clip(tmp_path / "clip.mp4", TIMES * 1, objects=(0, 1, 2))
    arguments = ["run", "--camera", clip, "--state", tmp_path / "state", "--uplink", receiver.url]
    device = making.edge(release.folder, *arguments)
    device.stdout.readline()
    device.send_signal(signal.SIGTERM)
    making.ended(device)
    making.ended(making.edge(release.folder, *arguments))
    options = ["--recipe", tracking.RECIPE, "-o", str(tmp_path / "out"), str(clip)]
    assert batch.main(["--deployed", str(root / ".sightline" / "deployed" / tracking.RECIPE), *options]) == 0
    wanted = pq.read_table(tmp_path / "out" / "tracks" / f"{file_sha256(clip)[:16]}.parquet").to_pylist()
    rows = list(records(receiver.store))
    assert [row["frame"] for row in rows] == [frame.index for frame in read_frames(clip)]
    found = [(row["frame"], track) for row in rows for track in row["tracks"]]
    told = [(frame, track["track_id"], track["class"]) for frame, track in found]
    assert told == [(row["frame_index"], row["track_id"], row["class"]) for row in wanted] and len(told) > 200
    # Two builds of FFmpeg convert colours differently, and with them the edge of what is found: by a pixel of 4.
    sides = np.array([[track[side] for side in "xywh"] for _, track in found])
    assert np.abs(sides - [[row[side] for side in "xywh"] for row in wanted]).max() <= 8
    assert "followed_since" not in rows[0]


def test_it_needs_no_more_than_other_archives(release):
    code = (
        "import sys, edge.__main__\n"
        "from components.edge.device.command import here\n"
        "from components.edge.device.model import load\n"
        "load(here(), 'float32', 1)._follower()\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    process = making.edge(release.folder, stdout=making.subprocess.PIPE, code=code)
    modules = set(making.ended(process).split())
    assert "components" in modules and not {"scipy", "pydantic", "yaml", "torch", "av", "pyarrow"} & modules
