"""`--set KEY=VALUE`: one knob of a recipe changed in params.yaml, and nothing else in the file.

Values are read by the grammar of `dvc exp run -S`; only the characters of the value are replaced, so that comments,
order and layout stay.
"""

import copy
from dataclasses import dataclass
from typing import Any

import yaml

from components.core import paths
from components.core.errors import SightlineError, UsageError
from components.core.files import atomic_text
from components.core.recipe import nearest, parse_recipe, recipe_names


@dataclass(frozen=True)
class Change:
    """A parameter that got another value. `before` is None where the file did not name it."""

    key: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.key}: {_flow(self.before)} -> {_flow(self.after)}"


def apply(recipe: str, settings: list[str]) -> list[Change]:
    """Writes the settings (`training.lr=.01`, relative to the recipe) to params.yaml; returns what changed.

    The recipe is checked whole before anything is written. Raises UsageError for what is not KEY=VALUE, for an
    unknown recipe or key (naming the nearest), and for a value that does not fit.
    """
    path = paths.workspace() / "params.yaml"
    recipe_names(path)  # says what is wrong with the file itself
    text = path.read_text()
    new, changes = edit(text, recipe, settings, path.name)
    if new != text:
        atomic_text(path, new)
    return changes


def edit(text: str, recipe: str, settings: list[str], origin: str = "params.yaml") -> tuple[str, list[Change]]:
    """The text of params.yaml with the settings in it, and the changes that they make. Raises as `apply` does."""
    recipes = yaml.safe_load(text)["recipes"]
    if recipe not in recipes:
        raise UsageError(f"{origin}: no recipe {recipe!r}", nearest(recipe, list(recipes)))
    body = recipes[recipe]
    old = copy.deepcopy(body)
    for setting in settings:
        keys, value = _parse(setting, recipe)
        for leaf, leaf_value in _leaves(keys, value):
            text = _splice(text, ["recipes", recipe, *leaf], leaf_value)
            _put(body, leaf, leaf_value)
    if yaml.safe_load(text)["recipes"][recipe] != body:
        raise SightlineError(f"{origin}: its layout does not let {settings} in", "edit the file by hand")
    parse_recipe(recipe, body, origin)
    before, after = _flat(old), _flat(body)
    return text, [Change(key, before.get(key), after[key]) for key in after if before.get(key) != after[key]]


def _parse(setting: str, recipe: str) -> tuple[list[str], Any]:
    from dvc.utils.hydra import to_hydra_overrides
    from hydra.errors import OverrideParseException

    key, equals, _ = setting.partition("=")
    example = "write --set KEY=VALUE, such as --set training.lr=.01"
    if not equals or not key.strip():
        raise UsageError(f"--set {setting}: no KEY=VALUE", example)
    try:
        override = to_hydra_overrides([setting])[0]
    except OverrideParseException:
        quoted = setting.replace("=", "='", 1) + "'"
        raise UsageError(f"--set {setting}: the value cannot be read", f'put it in quotes: --set "{quoted}"') from None
    if override.is_sweep_override() or override.is_delete():
        raise UsageError(f"--set {setting}: one value at a time", f"{example}; for a sweep: dvc exp run --queue -S ...")
    keys = override.key_or_group.split(".")
    return (keys[2:] if keys[:2] == ["recipes", recipe] else keys), override.value()


def _leaves(keys: list[str], value: Any):
    # A mapping is merged into what is there, key by key, as `dvc exp run -S` does.
    if isinstance(value, dict) and value:
        for name, part in value.items():
            yield from _leaves([*keys, str(name)], part)
    else:
        yield keys, value


def _put(body: dict, keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        if not isinstance(body.get(key), dict):
            body[key] = {}
        body = body[key]
    body[keys[-1]] = value


def _splice(text: str, keys: list[str], value: Any) -> str:
    """`text` with the YAML of `value` at `keys`, where the mapping there may lack the last of them."""
    node = yaml.compose(text)
    for depth, key in enumerate(keys):
        if not isinstance(node, yaml.MappingNode):  # a value gives way to a mapping
            return _replace(text, node, _nested(keys[depth:], value))
        found = [child for name, child in node.value if name.value == key]
        if not found:
            return _insert(text, node, key, _nested(keys[depth + 1 :], value))
        node = found[0]
    return _replace(text, node, value)


def _nested(keys: list[str], value: Any) -> Any:
    for key in reversed(keys):
        value = {key: value}
    return value


def _replace(text: str, node: yaml.Node, value: Any) -> str:
    start, end = node.start_mark.index, _end(node)
    before = text[:start].rstrip()
    if before.endswith(":"):  # `key:` with nothing after it, or with a block, which may begin in the key's own column
        return f"{before} {_flow(value)}{text[end:]}"
    block = isinstance(node, yaml.CollectionNode) and not node.flow_style
    return f"{text[:start]}{'  ' if block else ''}{_flow(value)}{text[end:]}"


def _insert(text: str, node: yaml.MappingNode, key: str, value: Any) -> str:
    entry = _flow({key: value})[1:-1]
    if node.flow_style:
        at = node.end_mark.index - 1
        return f"{text[:at]}{', ' if node.value else ''}{entry}{text[at:]}"
    at = text.find("\n", _end(node))
    at = len(text) if at < 0 else at
    return f"{text[:at]}\n{' ' * node.start_mark.column}{entry}{text[at:]}"


def _end(node: yaml.Node) -> int:
    # A block's own end mark lies behind the comments that follow it.
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return node.end_mark.index


def _flow(value: Any) -> str:
    """YAML on one line, fit to stand inside brackets."""
    return yaml.safe_dump([value], default_flow_style=True, width=float("inf"), allow_unicode=True).strip()[1:-1]


def _flat(body: dict, prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in body.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
