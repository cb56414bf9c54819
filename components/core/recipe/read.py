"""Reading `params.yaml`: checked whole, every error with the key and the nearest right one."""

import difflib
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from components.core import paths
from components.core.errors import UsageError
from components.core.recipe.section import Section
from components.core.recipe.whole import Recipe


def nearest(name: str, names: list[str]) -> str:
    """`did you mean ...?` for the closest of `names`, else the list of them."""
    close = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(sorted(names))}"


def recipe_names(path: Path | None = None) -> list[str]:
    """Names of the recipes in params.yaml, in its order."""
    return list(_read(path or paths.workspace() / "params.yaml"))


def load_recipe(name: str, path: Path | None = None) -> Recipe:
    """The recipe `name` of `path` (default: the workspace's params.yaml), checked whole.

    Raises UsageError for an unreadable file, an unknown recipe or key (naming the nearest right one), a wrong value.
    """
    path = path or paths.workspace() / "params.yaml"
    recipes = _read(path)
    if name not in recipes:
        raise UsageError(f"{path.name}: no recipe {name!r}", nearest(name, list(recipes)))
    return parse_recipe(name, recipes[name], path.name)


def parse_recipe(name: str, body: Any, origin: str = "params.yaml") -> Recipe:
    """The recipe written as the mapping `body`; errors name `origin`, the key and the remedy."""
    if not isinstance(body, dict):
        raise UsageError(f"{origin}: recipes.{name} is not a mapping", "give it the keys task and source")
    try:
        return Recipe(name=name, **body)
    except ValidationError as error:
        raise UsageError(*_explain(error, origin, name)) from None


def _read(path: Path) -> dict:
    try:
        document = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise UsageError(f"{path}: not there", "run inside a Sightline checkout") from None
    except yaml.YAMLError as error:
        raise UsageError(f"{path}: not valid YAML: {error}", "correct the line it names") from None
    if not isinstance(document, dict) or not isinstance(document.get("recipes"), dict):
        raise UsageError(f"{path}: no mapping `recipes` in it", "see params.yaml of the project for the form")
    return document["recipes"]


def _explain(error: ValidationError, origin: str, name: str) -> tuple[str, str]:
    # A key that is missing may only be misspelt: the unknown one says more.
    errors = sorted(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
    first = errors[0]
    where = [str(part) for part in first["loc"]]
    key = ".".join(["recipes", name, *where])
    if first["type"] == "extra_forbidden":
        section = _section(where[:-1])
        known = [field for field in section.model_fields if field != "name"] if section else []
        return f"{origin}: unknown parameter {key}", nearest(where[-1], known)
    value = "" if isinstance(first["input"], dict) else f" = {first['input']!r}"
    return f"{origin}: {key}{value}: {first['msg']}", "give it a value of that form"


def _section(where: list[str]) -> type[Section] | None:
    model: Any = Recipe
    for part in where:
        field = getattr(model, "model_fields", {}).get(part)
        if field is None:
            return model if model is not Recipe else None
        model = field.annotation
    return model if isinstance(model, type) and issubclass(model, Section) else None
