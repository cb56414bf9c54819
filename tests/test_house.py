"""The house's rules: small shells, a README per stage, one graph for both DVC and the flows."""

import ast
import re
from pathlib import Path

import pytest
import yaml

PROJECT = Path(__file__).resolve().parents[1]
STAGES = "ingest frames features validation tuning training evaluation promotion deployment".split()
OPTIONAL = {"explain": 6}  # for the recipes that params.yaml names for it; its place among the stages
SHELLS = sorted(PROJECT.glob("components/*/__main__.py"))


def test_dvc_has_the_nine_stages_in_order():
    stages = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]
    assert [name for name in stages if name not in OPTIONAL] == STAGES
    for name, stage in stages.items():
        assert stage["foreach"] == ("${explained}" if name in OPTIONAL else "${recipes}")
        recipe = "${item}" if name in OPTIONAL else "${key}"
        assert stage["do"]["cmd"] == f"python -m components.{name} --recipe {recipe}"
        assert name not in OPTIONAL or list(stages)[OPTIONAL[name]] == name
        assert f"components/{name}" in stage["do"]["deps"], f"{name} does not depend on its own code"


def test_every_stage_reads_only_sections_it_declares():
    """A parameter that shapes an output but is not declared would leave DVC with an old result."""
    stages = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]
    sections = set(stages) | {"source", "task"}
    shared = {"training": {"tuning"}}  # tuning declares training's parameters one by one
    for name in stages:
        declared = {entry.split(".")[2] for entry in stages[name]["do"]["params"]}
        used = set()
        for file in (PROJECT / "components" / name).glob("*.py"):
            used |= set(re.findall(r"\brecipe\.(\w+)\b", file.read_text())) & sections
        missing = {section for section in used - declared if name not in shared.get(section, set())}
        assert not missing, f"{name} uses recipe.{missing} but dvc.yaml does not declare it"


@pytest.mark.parametrize("shell", SHELLS, ids=lambda path: path.parent.name)
def test_shells_are_small(shell):
    assert len(shell.read_text().splitlines()) <= 80


@pytest.mark.parametrize("stage", [*STAGES, *OPTIONAL, "serving", "edge"])
def test_every_stage_has_a_readme(stage):
    text = (PROJECT / "components" / stage / "README.md").read_text()
    for heading in ("## Inputs", "## Outputs", "## Failure modes"):
        assert heading in text, f"components/{stage}/README.md lacks {heading}"


def test_nothing_is_pickled():
    """No module pickles, and torch.load only ever reads tensors."""
    for file in [*PROJECT.glob("components/**/*.py"), *PROJECT.glob("flows/**/*.py")]:
        tree = ast.parse(file.read_text())
        for node in ast.walk(tree):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
                assert not {"pickle", "cloudpickle", "joblib", "dill"} & {name.split(".")[0] for name in names}, file
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                assert "weights_only=True" in ast.unparse(node), file


def test_public_functions_say_what_they_return():
    for file in [*PROJECT.glob("components/**/*.py"), *PROJECT.glob("flows/**/*.py")]:
        tree = ast.parse(file.read_text())
        assert ast.get_docstring(tree), f"{file}: no module docstring"
        for node in tree.body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
                if node.name == "main" or file.name == "__main__.py":
                    continue
                assert ast.get_docstring(node), f"{file}: {node.name} has no docstring"


def test_every_parameter_that_dvc_watches_is_in_every_recipe():
    """DVC stops a stage whose parameter is not written down, though it has a default."""
    recipes = yaml.safe_load((PROJECT / "params.yaml").read_text())["recipes"]
    for stage in yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"].values():
        for watched in stage["do"].get("params", []) if stage.get("foreach") == "${recipes}" else []:
            for name in recipes:
                place = {"recipes": recipes}
                for part in watched.replace("${key}", name).split("."):
                    assert part in place, f"params.yaml has no {watched.replace('${key}', name)}"
                    place = place[part]
