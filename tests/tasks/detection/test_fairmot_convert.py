"""Published checkpoints of FairMOT: names and shapes, and what becomes of them."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from components.core.errors import SightlineError, UsageError
from components.tasks.detection.tracking.convert import convert, main
from components.tasks.detection.tracking.dla import Base
from components.tasks.detection.tracking.fairmot import DLAFairMOT

Shapes = dict[str, tuple[int, ...]]
FORM = {"max_boxes": 4, "score_floor": 0.05, "nms": 0.5}


def norm(name: str, width: int) -> Shapes:
    shapes = {f"{name}.{part}": (width,) for part in ("weight", "bias", "running_mean", "running_var")}
    return shapes | {f"{name}.num_batches_tracked": ()}


def unit(name: str, outside: int, inside: int, kernel: int) -> Shapes:
    return {f"{name}.0.weight": (outside, inside, kernel, kernel)} | norm(f"{name}.1", outside)


def leaf(name: str, inside: int, outside: int, gathered: int) -> Shapes:
    """A tree of two blocks; `gathered` channels reach its root."""
    shapes = {}
    for block, width in (("tree1", inside), ("tree2", outside)):
        for i, channels in ((1, width), (2, outside)):
            shapes[f"{name}.{block}.conv{i}.weight"] = (outside, channels, 3, 3)
            shapes |= norm(f"{name}.{block}.bn{i}", outside)
    shapes |= {f"{name}.root.conv.weight": (outside, gathered, 1, 1)} | norm(f"{name}.root.bn", outside)
    return shapes if inside == outside else shapes | unit(f"{name}.project", outside, inside, 1)


def node(name: str, outside: int, inside: int, deformable: bool) -> Shapes:
    shapes = norm(f"{name}.actf.0", outside) | {f"{name}.conv.weight": (outside, inside, 3, 3)}
    offsets = {"bias": (outside,), "conv_offset_mask.weight": (27, inside, 3, 3), "conv_offset_mask.bias": (27,)}
    return shapes | ({f"{name}.conv.{part}": shape for part, shape in offsets.items()} if deformable else {})


def published(deformable: bool = True, kinds: int = 1, dim: int = 128) -> Shapes:
    """Names and shapes in fairmot_dla34.pth, without the classifier that it carries along."""
    shapes = unit("base.base_layer", 16, 3, 7) | unit("base.level0", 16, 16, 3) | unit("base.level1", 32, 16, 3)
    shapes |= leaf("base.level2", 32, 64, 128) | leaf("base.level5", 256, 512, 1280)
    for level, inside, outside, gathered in ((3, 64, 128, 448), (4, 128, 256, 896)):
        shapes |= leaf(f"base.level{level}.tree1", inside, outside, 2 * outside)
        shapes |= leaf(f"base.level{level}.tree2", outside, outside, gathered)
        shapes |= unit(f"base.level{level}.project", outside, inside, 1)
    ups = {"dla_up.ida_0": (256, [(512, 2)]), "dla_up.ida_1": (128, [(256, 2)] * 2)}
    ups |= {"dla_up.ida_2": (64, [(128, 2)] * 3), "ida_up": (64, [(128, 2), (256, 4)])}
    for name, (width, inside) in ups.items():
        for i, (channels, factor) in enumerate(inside, 1):
            shapes |= node(f"{name}.proj_{i}", width, channels, deformable)
            shapes |= node(f"{name}.node_{i}", width, width, deformable)
            shapes[f"{name}.up_{i}.weight"] = (width, 1, 2 * factor, 2 * factor)
    for head, outputs in (("hm", kinds), ("wh", 4), ("id", dim), ("reg", 2)):
        shapes |= {f"{head}.0.weight": (256, 64, 3, 3), f"{head}.0.bias": (256,)}
        shapes |= {f"{head}.2.weight": (outputs, 256, 1, 1), f"{head}.2.bias": (outputs,)}
    return shapes


def tensors(shapes: Shapes) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    return {
        name: torch.zeros(shape, dtype=torch.int64)
        if name.endswith("num_batches_tracked")
        else torch.rand(shape, generator=random) * 0.01
        for name, shape in shapes.items()
    }


@pytest.mark.parametrize("deformable", [True, False])
def test_names_and_shapes_are_the_published_ones(deformable):
    with torch.device("meta"):
        network = DLAFairMOT((64, 64), 3, **FORM, deformable=deformable, dim=64)
    assert {name: tuple(t.shape) for name, t in network.state_dict().items()} == published(deformable, 2, 64)


@pytest.mark.parametrize("wrapped, prefix", [(True, ""), (True, "module."), (False, "")])
def test_a_published_checkpoint_is_converted_tensor_by_tensor(tmp_path, capsys, wrapped, prefix):
    """With or without its wrappings; what is not the network's is dropped and said; the result is a network's."""
    state = tensors(published())
    given = {prefix + name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    given |= {f"{prefix}base.fc.weight": torch.zeros(10, 512, 1, 1), f"{prefix}classifier.weight": torch.zeros(5, 128)}
    torch.save({"epoch": 30, "state_dict": given} if wrapped else given, tmp_path / "fairmot.pth")
    out = tmp_path / "fairmot.safetensors"
    assert main([str(tmp_path / "fairmot.pth"), str(out)]) == 0
    said = capsys.readouterr().out
    assert "base.fc.weight: ImageNet's" in said and "classifier.weight: the classifier of training identities" in said
    found = load_file(out)
    assert found.keys() == state.keys() and all(torch.equal(found[name], state[name]) for name in state)
    network = DLAFairMOT((64, 64), 2, **FORM, deformable=True, weights=str(out))
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())
    assert len(network.weights_digest) == 64


def test_plain_convolutions_are_seen_by_their_tensors(tmp_path):
    torch.save(tensors(published(False, 2, 64)), tmp_path / "plain.pth")
    assert convert(tmp_path / "plain.pth", tmp_path / "plain.safetensors") == []
    network = DLAFairMOT((64, 64), 3, **FORM, dim=64, weights=str(tmp_path / "plain.safetensors"))
    assert torch.isfinite(network.eval()(torch.rand(1, 3, 64, 64)).boxes).all()


def test_every_mismatch_is_named(tmp_path):
    state = tensors(published())
    del state["hm.0.bias"]
    state |= {"wh.2.weight": torch.zeros(2, 256, 1, 1), "iou.0.weight": torch.zeros(1)}
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(SightlineError) as refused:
        convert(tmp_path / "other.pth", tmp_path / "out.safetensors")
    problem = refused.value.problem
    assert "hm.0.bias: missing" in problem and "iou.0.weight: unknown" in problem
    assert "wh.2.weight: (2, 256, 1, 1) instead of (4, 256, 1, 1)" in problem
    assert not (tmp_path / "out.safetensors").exists()


class Code:
    """What a file of tensors must not hold."""


@pytest.mark.parametrize(
    "content, said",
    [
        ({"epoch": 1, "state_dict": {"conv1.weight": torch.zeros(1)}}, "hm.2.weight: missing"),
        ([torch.zeros(1)], "not a state dict"),
        ({"epoch": 1, "lr": 0.1}, "not a state dict"),
        ({"state_dict": {"hm.2.weight": Code()}}, "not a checkpoint of tensors"),
        (b"\x00not a checkpoint", "not a checkpoint of tensors"),
        (None, "cannot be read"),
    ],
)
def test_what_is_no_checkpoint_is_refused(tmp_path, capsys, content, said):
    file = tmp_path / "given.pth"
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content is not None:
        torch.save(content, file)
    assert main([str(file), str(tmp_path / "out.safetensors")]) == 1
    error = capsys.readouterr().err
    assert said in error and "remedy:" in error and str(file) in error


def test_weights_of_the_base_alone_come_from_imagenet_or_a_file(tmp_path, monkeypatch):
    """ImageNet's classifier is cut off; what does not fit, or is not there, is said."""
    monkeypatch.setenv("SIGHTLINE_MIRROR", str(tmp_path))
    state = {name: torch.rand_like(t) if t.is_floating_point() else t for name, t in Base().state_dict().items()}
    file = tmp_path / "weights" / "dla34-ba72cf86.pth"
    file.parent.mkdir()
    torch.save(state | {"fc.weight": torch.zeros(10, 512, 1, 1), "fc.bias": torch.zeros(10)}, file)
    for weights in ("imagenet", str(file)):
        network = DLAFairMOT((64, 64), 2, **FORM, weights=weights)
        assert all(torch.equal(tensor, state[name]) for name, tensor in network.base.state_dict().items())
    save_file({"level0.0.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(SightlineError, match="do not fit"):
        DLAFairMOT((64, 64), 2, **FORM, weights=str(tmp_path / "other.safetensors"))
    for weights in ("shipped", str(tmp_path / "nowhere.pth")):
        with pytest.raises(UsageError, match="none for dla34"):
            DLAFairMOT((64, 64), 2, **FORM, weights=weights)
