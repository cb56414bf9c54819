"""Labels of frames, splits by asset, and the batches that training streams."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from components.core import tables
from components.core.errors import SightlineError
from components.core.recipe import Task, load_recipe
from components.tasks.classification.labels import frame_labels
from components.tasks.classification.samples import load_samples, sample_period, split_source
from components.tasks.classification.stream import Stream, deal
from tests.workspaces import FRAMES, RECIPE, SPLITS

TASK = Task(classes=("normal", "suspicious"), positive="suspicious")


def rows(*entries) -> pa.Table:
    keys = ("asset_id", "first_pts", "last_pts", "class", "x", "track_id")
    base = {"source": "human", "weight": 1.0}
    return pa.Table.from_pylist([dict(zip(keys, e, strict=False)) | base for e in entries], schema=tables.ANNOTATIONS)


def test_interval_ends_are_inclusive_and_the_rest_unlabelled():
    annotations = rows(("a", 10, 20, "suspicious"))
    labels = frame_labels(annotations, np.array(["a"] * 5), np.array([9, 10, 15, 20, 21]), TASK)
    assert labels.tolist() == [-1, 1, 1, 1, -1]


def test_positive_wins_and_boxes_and_tracks_do_not_count():
    annotations = rows(
        ("a", 0, 9, "suspicious"), ("a", 0, 99, "normal"),
        ("b", 0, 9, "suspicious", 1.0), ("b", 0, 9, "normal", None, 3),
    )  # fmt: skip
    labels = frame_labels(annotations, np.array(["a", "a", "b"]), np.array([5, 50, 5]), TASK)
    assert labels.tolist() == [1, 0, -1]


def test_splits_are_by_asset(workspace):
    recipe = load_recipe(RECIPE)
    seen = {split: set(load_samples(recipe, split).asset_ids) for split in SPLITS}
    assert {split: len(assets) for split, assets in seen.items()} == SPLITS
    assert not (seen["train"] & seen["test"]) and not (seen["train"] & seen["val"]) and not (seen["val"] & seen["test"])


def test_samples_keep_time_order_and_labels(workspace):
    samples = load_samples(load_recipe(RECIPE), "test")
    for asset in range(len(samples.asset_ids)):
        own = samples.rows(asset)
        assert (np.diff(samples.pts[own]) > 0).all()
        assert samples.labels[own].sum() == 15 + asset
    assert len(samples) == SPLITS["test"] * FRAMES


def test_empty_split_is_refused(workspace):
    with pytest.raises(SightlineError, match="no asset with features in split nowhere"):
        split_source(load_recipe(RECIPE), "nowhere")


def test_period_is_exact(workspace):
    assert sample_period(load_recipe(RECIPE)) * 10 == 1


def test_stream_is_repeatable_and_covers_an_epoch(workspace):
    source = split_source(load_recipe(RECIPE), "train")
    first, again = (list(Stream(source, 2, 16, seed=3).epoch(1)) for _ in range(2))
    assert all(
        (a.windows == b.windows).all() and (a.labels == b.labels).all() for a, b in zip(first, again, strict=True)
    )
    centres = np.concatenate([batch.windows[:, 2].numpy() for batch in first])
    every = load_samples(load_recipe(RECIPE), "train").vectors
    assert len(np.unique(centres, axis=0)) == len(every) == SPLITS["train"] * FRAMES
    other = next(iter(Stream(source, 2, 16, seed=3).epoch(2)))
    assert (other.windows != first[0].windows).any()


def test_ranks_share_nothing_and_take_equal_steps(workspace):
    source = split_source(load_recipe(RECIPE), "train")
    ranks = [Stream(source, 0, 16, 0, rank, 4) for rank in range(4)]
    positions = [at for stream in ranks for at in stream.positions]
    assert len(set(positions)) == len(positions) == 6
    assert len({len(list(stream.epoch(0))) for stream in ranks}) == 1


def test_windows_stop_at_the_clips_ends(workspace):
    batch = next(iter(Stream(split_source(load_recipe(RECIPE), "train"), 3, 240, 0).epoch(0)))
    assert batch.present[:, 3].all()
    assert (~batch.present[:, 0]).sum() == (~batch.present[:, 6]).sum() == 3 * SPLITS["train"]


@settings(max_examples=100, deadline=None)
@given(rows=st.lists(st.integers(1, 1000), min_size=1, max_size=40), world=st.integers(1, 6))
def test_deal_gives_every_shard_once_and_balances(rows, world):
    shares = deal(rows, world)
    assert sorted(i for share in shares for i in share) == list(range(len(rows)))
    weights = [sum(rows[i] for i in share) for share in shares]
    assert max(weights) - min(weights) <= max(rows)


def test_a_video_in_several_shards_is_one_sequence(workspace):
    """A long video's shards ASSET-00000, ASSET-00001: the same samples, batches and period as from one shard."""
    recipe = load_recipe(RECIPE)
    before, period = load_samples(recipe, "train"), sample_period(recipe)
    batches = list(Stream(split_source(recipe, "train"), 2, 16, seed=3).epoch(1))
    for file in sorted((workspace / "data" / RECIPE / "features").glob("*.parquet")):
        table = tables.read_shard(file)
        for number, first in enumerate((0, 13, 30)):
            part = table.slice(first, (13, 17, FRAMES)[number])
            tables.write_shard(file.with_name(f"{file.stem}-{number:05d}.parquet"), part, table.schema)
        file.unlink()
    source = split_source(recipe, "train")
    assert [len(group) for group in source.groups] == [3] * SPLITS["train"]
    after = load_samples(recipe, "train")
    assert after.frame_ids == before.frame_ids and (after.vectors == before.vectors).all()
    assert (after.starts == before.starts).all() and sample_period(recipe) == period
    for one, other in zip(batches, Stream(source, 2, 16, seed=3).epoch(1), strict=True):
        assert torch.equal(one.windows, other.windows) and torch.equal(one.present, other.present)
    assert source.labels(source.groups[0]).tolist() == after.labels[after.rows(0)].tolist()
