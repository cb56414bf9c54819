"""Vectors: the same bytes for the same sequence, motion that is motion, backbones that load what they are given."""

import http.server
import threading

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from components.core.errors import SightlineError, UsageError
from components.core.recipe import Features
from components.tasks import backbones
from components.tasks.featurizer import build_featurizer, featurize
from components.tasks.motion import Motion

SMALL = Features(backbone="sightline_small", weights="none", size=(96, 128), batch_size=4)


def moving_square(step: int, frames: int = 6) -> list[np.ndarray]:
    """A bright textured square that moves `step` pixels per frame over a textured ground."""
    random = np.random.default_rng(0)
    ground = random.integers(60, 100, (96, 128, 3)).astype(np.uint8)
    square = random.integers(150, 255, (20, 20, 3)).astype(np.uint8)
    pictures = []
    for t in range(frames):
        picture = ground.copy()
        picture[40:60, 10 + step * t : 30 + step * t] = square
        pictures.append(picture)
    return pictures


def test_chunks_do_not_show_in_the_vectors():
    featurizer = build_featurizer(SMALL)
    pictures = moving_square(2, frames=11)
    by_four = featurize(featurizer, iter(pictures), SMALL.size, 4)
    whole = featurize(featurizer, iter(pictures), SMALL.size, 64)
    np.testing.assert_allclose(by_four, whole, rtol=1e-4, atol=1e-5)
    assert (by_four == featurize(featurizer, iter(pictures), SMALL.size, 4)).all()


@pytest.mark.parametrize("parts", [("mean",), ("max", "mean"), ("motion",), ("mean", "max", "motion")])
def test_parts_make_the_vector_in_their_order(parts):
    vectors = {
        name: featurize(build_featurizer(SMALL.model_copy(update={"parts": (name,)})), moving_square(1), SMALL.size, 4)
        for name in parts
    }
    together = featurize(build_featurizer(SMALL.model_copy(update={"parts": parts})), moving_square(1), SMALL.size, 4)
    np.testing.assert_allclose(together, np.concatenate([vectors[name] for name in parts], 1), rtol=1e-4, atol=1e-5)


def test_faster_is_more_motion_and_a_still_or_single_picture_has_none():
    def vector(pictures):
        return featurize(build_featurizer(SMALL.model_copy(update={"parts": ("motion",)})), pictures, SMALL.size, 8)

    still, slow, fast = vector(moving_square(0)), vector(moving_square(1)), vector(moving_square(4))
    single = vector(moving_square(4, frames=1))
    assert single.shape == (1, Motion.dimension)
    np.testing.assert_allclose(still, np.broadcast_to(single, still.shape), atol=1e-6)
    assert fast[:, -1].min() > slow[:, -1].max() > still[:, -1].max()


def test_unknown_backbone_names_the_nearest():
    with pytest.raises(UsageError, match="mobilenet_v2"):
        backbones.load_backbone("mobilnet_v2", "none")


@pytest.mark.parametrize("name", sorted(backbones.KINDS))
def test_every_backbone_gives_the_map_it_declares(name):
    module, kind, digest = backbones.load_backbone(name, "none", seed=1)
    with torch.inference_mode():
        maps = module(torch.zeros(1, 3, 96, 128))
    assert maps.shape[:2] == (1, kind.channels) and digest == "random-1"


def test_weights_that_do_not_fit_are_refused(tmp_path):
    save_file({"stem.0.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises((SightlineError, RuntimeError)):
        backbones.load_backbone("sightline_small", str(tmp_path / "other.safetensors"))


def test_shipped_weights_are_those_of_the_model_card():
    file = backbones.weights_file("sightline_small", "shipped")
    card = file.with_suffix(".md").read_text()
    _, _, digest = backbones.load_backbone("sightline_small", "shipped")
    assert digest in card
    assert file.stat().st_size < 6_000_000


def test_download_is_checked_cached_and_refused_when_wrong(tmp_path, monkeypatch):
    content = b"weights"
    served = {"good-9b5dc4b5.pth": content, "bad-00000000.pth": content}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(served[self.path.strip("/")])

        def log_message(self, *_):
            return

    import hashlib

    good = f"good-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    served[good] = content
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path))
    monkeypatch.setattr(backbones, "DOWNLOAD", f"http://127.0.0.1:{server.server_port}/")
    try:
        assert backbones._downloaded(good).read_bytes() == content
        with pytest.raises(SightlineError, match="SHA-256"):
            backbones._downloaded("bad-00000000.pth")
        assert not list((tmp_path / "weights").glob("*bad*"))
    finally:
        server.shutdown()
        server.server_close()
    assert backbones._downloaded(good).read_bytes() == content  # from the cache: the server is gone
    with pytest.raises(SightlineError, match="put the file at"):
        backbones._downloaded("bad-00000000.pth")
