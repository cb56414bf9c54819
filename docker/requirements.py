"""pyproject.toml's extras as requirement files, one per layer of the images; standard library only.

    python requirements.py PYPROJECT FOLDER

`base` is what the project itself depends on, `torch` what Horovod is built against, `models` what the images spark and
train have in common (a layer that they share); then one per image, without what lies below it. Versions are not here:
infra/setup/constraints.txt has them.
"""

import re
import sys
import tomllib
from pathlib import Path

IMAGES = ("spark", "train", "serve", "edge", "flows")
SHARING = ("spark", "train")


def layers(project: dict) -> dict[str, list[str]]:
    """The requirements of every layer, by its name; `project` is the table [project]. KeyError where an extra lacks."""
    extras = project["optional-dependencies"]
    found = {"base": list(project["dependencies"])}
    shared = [one for one in extras[SHARING[0]] if all(one in extras[other] for other in SHARING)]
    found["torch"] = [one for one in shared if name(one) == "torch"]
    found["models"] = [one for one in shared if one not in found["base"] + found["torch"]]
    for image in IMAGES:
        below = found["base"] + (shared if image in SHARING else [])
        found[image] = [one for one in extras[image] if one not in below]
    return found


def name(requirement: str) -> str:
    """The package that a requirement names, as in `torch==2.13.0`."""
    return re.match(r"[A-Za-z0-9._-]+", requirement)[0]


def main() -> int:
    """Writes FOLDER/LAYER.txt."""
    source, folder = Path(sys.argv[1]), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    for layer, wanted in layers(tomllib.loads(source.read_text())["project"]).items():
        (folder / f"{layer}.txt").write_text("".join(f"{one}\n" for one in wanted))
    return 0


if __name__ == "__main__":
    sys.exit(main())
