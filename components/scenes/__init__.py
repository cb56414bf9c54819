"""Generated CCTV-like footage with exact truth: seed in, the same bytes out."""

from components.scenes.encode import write_clip
from components.scenes.generate import generate
from components.scenes.render import render_clip
from components.scenes.spec import ClipSpec, SceneSpec, clip_specs
from components.scenes.truth import FrameTruth, clip_truth

__all__ = ["ClipSpec", "FrameTruth", "SceneSpec", "clip_specs", "clip_truth", "generate", "render_clip", "write_clip"]
