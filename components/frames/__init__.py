"""Frames: catalog -> sampled frames as JPEG rows, a shard per video or segment of one."""
