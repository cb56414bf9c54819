"""Backbones: the map each declares, weights that are what they are said to be, sizes that are refused."""

import hashlib
import http.server
import threading
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from components.core.errors import SightlineError, UsageError
from components.tasks import backbones
from components.tasks.backbones import KINDS, weights

ARTICLE = {"inception_v3", "xception", "resnet50", "vgg16", "vgg19"}
NAMED = {"mobilenet_v2", "squeezenet1_1", "convnext_tiny", "vit_small_dinov2", "sightline_small"}


def smallest(name: str) -> tuple[int, int]:
    """A size the backbone takes, one side longer than the other, so that a swap of the two would show."""
    side = max(KINDS[name].smallest, 28)
    return side, side + 14


def test_all_backbones_are_there():
    assert set(KINDS) == ARTICLE | NAMED


def test_unknown_backbone_names_the_nearest():
    with pytest.raises(UsageError, match="mobilenet_v2"):
        backbones.load_backbone("mobilnet_v2", "none")


@pytest.mark.parametrize("name", sorted(KINDS))
def test_every_backbone_gives_the_map_it_declares(name):
    size = smallest(name)
    module, kind, digest = backbones.load_backbone(name, "none", seed=1, size=size)
    with torch.inference_mode():
        maps = module(torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0)))
    assert maps.shape[:2] == (2, kind.channels) and maps.dim() == 4 and digest == "random-1"
    assert torch.isfinite(maps).all() and maps.std() > 0
    assert backbones.backbone_digest(name, "none", size, seed=1) == digest


@pytest.mark.parametrize("name", sorted(name for name in KINDS if KINDS[name].smallest > 1))
def test_a_size_below_the_smallest_is_refused(name):
    side = KINDS[name].smallest
    with pytest.raises(UsageError, match="too small") as refused:
        backbones.load_backbone(name, "none", size=(side - 1, 300))
    assert f"{side}x{side}" in refused.value.remedy


def test_patches_must_fit_the_picture():
    with pytest.raises(UsageError, match="patches of 14") as refused:
        backbones.load_backbone("vit_small_dinov2", "none", size=(224, 225))
    assert "[224, 224]" in refused.value.remedy


def test_random_weights_are_those_of_the_seed():
    def first(seed):
        return next(iter(backbones.load_backbone("vgg16", "none", seed=seed)[0].state_dict().values()))

    assert torch.equal(first(1), first(1)) and not torch.equal(first(1), first(2))


@pytest.mark.parametrize("name", ["resnet50", "vit_small_dinov2", "xception"])
def test_published_weights_load_and_their_tail_is_dropped(name, tmp_path):
    """A file with the published keys: classifier and all, and of a vision transformer the embedding of 518 pixels."""
    kind = KINDS[name]
    published = backbones.load_backbone(name, "none", seed=3, size=(518, 518) if kind.multiple > 1 else (224, 224))[0]
    state = {key: value.clone() for key, value in published.network.state_dict().items()}
    counters = [key for key in state if key.endswith("num_batches_tracked")]
    file = {key: value for key, value in state.items() if key not in counters}  # old files have none
    file |= {f"{kind.tail[-1]}.weight": torch.zeros(7, 5)}
    if kind.multiple > 1:
        file["mask_token"] = torch.zeros(1, 384)
    torch.save(file, tmp_path / "published.pth")
    size = smallest(name)
    module, _, _ = backbones.load_backbone(name, str(tmp_path / "published.pth"), size=size)
    for key, value in module.network.state_dict().items():
        if key == "pos_embed":
            assert value.shape[1] == 1 + (size[0] // 14) * (size[1] // 14)
            assert torch.equal(value[:, :1], state[key][:, :1])  # the class token's is as it was
        else:
            assert torch.equal(value, state[key]), key


@pytest.mark.parametrize(
    "state",
    [{"stem.0.0.weight": torch.zeros(1)}, {"stem.0.weight": torch.zeros(16, 3, 3, 3)}, {"other": torch.zeros(1)}],
)
def test_weights_that_do_not_fit_are_refused(tmp_path, state):
    save_file(state, tmp_path / "other.safetensors")
    with pytest.raises(SightlineError, match="do not fit"):
        backbones.load_backbone("sightline_small", str(tmp_path / "other.safetensors"))


def test_shipped_weights_are_those_of_the_model_card():
    file = backbones.weights_file("sightline_small", "shipped")
    card = file.with_suffix(".md").read_text()
    _, _, digest = backbones.load_backbone("sightline_small", "shipped")
    assert digest in card
    assert file.stat().st_size < 6_000_000


def test_every_published_file_is_checked():
    for name, kind in KINDS.items():
        assert name == "sightline_small" or (kind.file and len(kind.sha256) >= 8 and kind.tail)


def test_download_is_checked_cached_and_refused_when_wrong(tmp_path, monkeypatch):
    content = b"weights"

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path))
    monkeypatch.delenv("SIGHTLINE_MIRROR", raising=False)
    address = f"http://127.0.0.1:{server.server_port}/"
    good = replace(KINDS["vgg16"], file="good.pth", address=address, sha256=hashlib.sha256(content).hexdigest()[:8])
    bad = replace(good, file="bad.pth", sha256="00000000")
    try:
        assert weights.downloaded(good).read_bytes() == content
        with pytest.raises(SightlineError, match="SHA-256"):
            weights.downloaded(bad)
        assert not list((tmp_path / "weights").glob("*bad*"))
    finally:
        server.shutdown()
        server.server_close()
    monkeypatch.setitem(KINDS, "vgg16", good)
    assert weights.weights_file("vgg16", "imagenet").read_bytes() == content  # from the cache: the server is gone
    with pytest.raises(SightlineError, match="put the file at"):
        weights.downloaded(bad)
