"""`params.yaml`, typed: a section per stage, validated once; an unknown key is refused with the nearest right name."""

from components.core.recipe.data import Features, Frames, Limits, Split
from components.core.recipe.operation import Explain, Gates, Monitoring
from components.core.recipe.read import load_recipe, nearest, parse_recipe, recipe_names
from components.core.recipe.sources import Search, Task, Wild
from components.core.recipe.training import Augment, Detector, Mining, Range, Tracker, Training, Tuning
from components.core.recipe.whole import Recipe

__all__ = [
    "Augment",
    "Detector",
    "Explain",
    "Features",
    "Frames",
    "Gates",
    "Limits",
    "Mining",
    "Monitoring",
    "Range",
    "Recipe",
    "Search",
    "Split",
    "Task",
    "Tracker",
    "Training",
    "Tuning",
    "Wild",
    "load_recipe",
    "nearest",
    "parse_recipe",
    "recipe_names",
]
