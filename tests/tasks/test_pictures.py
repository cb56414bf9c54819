"""Pictures for fine-tuning: the same batches kept or decoded anew, only the split's, every rank its own."""

import numpy as np
import pytest
import torch

from components.core.errors import UsageError
from components.core.recipe import load_recipe
from components.tasks.classification import pictures
from components.tasks.classification.pictures import PictureStream
from components.tasks.classification.samples import split_source
from tests.picture_sets import CLASSES, RECIPE, make_pictures

SIZE = (24, 20)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_pictures(tmp_path_factory.mktemp("pictures") / "workspace", {}, {"train": 10, "val": 1, "test": 2})


@pytest.fixture
def source(root, monkeypatch):
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(root))
    return split_source(load_recipe(RECIPE), "train", table="frames")


def test_memory_changes_nothing(source, monkeypatch):
    streams = [PictureStream(source, SIZE, 8, 0)]
    monkeypatch.setattr(pictures, "MEMORY", 0)
    streams.append(PictureStream(source, SIZE, 8, 0))
    for epoch in (0, 1):
        for kept, anew in zip(*(stream.epoch(epoch) for stream in streams), strict=True):
            assert torch.equal(kept.pixels, anew.pixels) and torch.equal(kept.labels, anew.labels)
    assert streams[0]._kept and not streams[1]._kept


def test_an_epoch_shows_every_picture_of_the_split_and_no_other(source):
    stream = PictureStream(source, SIZE, 10, 0)
    batches = list(stream.epoch(0))
    assert len(batches) == stream.steps == 3
    pixels = torch.cat([batch.pixels for batch in batches])
    assert pixels.shape == (30, 3, *SIZE) and 0 <= pixels.min() and pixels.max() <= 1
    assert len(np.unique(pixels.flatten(1).numpy(), axis=0)) == 30
    assert stream.counts.tolist() == [10.0] * len(CLASSES)
    once = torch.cat([batch.pixels for batch in stream.once()])
    assert torch.equal(once.sum((1, 2, 3)).sort()[0], pixels.sum((1, 2, 3)).sort()[0])


def test_ranks_divide_the_pictures_and_the_validation(source):
    streams = [PictureStream(source, SIZE, 4, 0, rank, 3) for rank in range(3)]
    assert sorted(sum((stream.positions for stream in streams), [])) == sorted(
        PictureStream(source, SIZE, 4, 0).positions
    )
    assert len({stream.steps for stream in streams}) == 1
    whole = PictureStream(source, SIZE, 4, 0)
    assert sum(len(batch.labels) for rank in range(3) for batch in whole.once(rank, 3)) == 30


def test_more_workers_than_shards_are_refused(source):
    with pytest.raises(UsageError, match="fewer workers"):
        PictureStream(source, SIZE, 4, 0, 0, 100)
