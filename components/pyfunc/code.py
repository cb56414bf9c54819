"""Which of the project's modules a module needs, found by reading them: what a model carries as its code."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = "components"


def needed(module: str) -> list[Path]:
    """The files, relative to the project, of a module of `components` and of all that it imports of `components`,
    within functions too, in order of their names."""
    found: set[Path] = set()
    asked = [module]
    while asked:
        file = _file(asked.pop())
        if file is None or file in found:
            continue
        found.add(file)
        asked += _imported(ast.parse((ROOT / file).read_text()))
        asked += [".".join(folder.parts) for folder in file.parents if folder.parts]
    return sorted(found)


def _imported(tree: ast.Module) -> Iterator[str]:
    """Names that may be modules of the project: of `from a import b`, both a and a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] == PACKAGE)


def _file(module: str) -> Path | None:
    """The file of a module or package of the project, relative to it; None where the name is no module."""
    path = Path(*module.split("."))
    return next((one for one in (path / "__init__.py", path.with_suffix(".py")) if (ROOT / one).is_file()), None)
