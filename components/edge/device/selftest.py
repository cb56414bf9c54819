"""Does a release give on this machine what it gave where it was built? Asked on generated pictures that it carries."""

import numpy as np

from components.core.errors import SightlineError
from components.core.files import read_json
from components.edge.device.model import load
from components.edge.device.pictures import decode
from components.edge.device.release import FLOAT32, Release

FOLDER, EXPECTED = "selftest", "expected.json"
ALL = "all"
TOLERANCES = {"float32": 0.005, "int8": 0.05}  # in probability: processors round differently, int8 the more


def selftest(release: Release, wanted: str = "auto") -> dict[str, float]:
    """The largest difference in probability, by precision: of the graph that this device runs where it is to be
    `wanted` (auto, float32, int8), or of ALL of them.

    Raises SightlineError where it is more than the release allows, there is no such graph, or a picture cannot be read.
    """
    expected = read_json(release.folder / FOLDER / EXPECTED, "copy the archive to the device again")
    found = {}
    for precision in release.manifest["graphs"] if wanted == ALL else [release.precision(wanted)]:
        given = answers(release, precision, expected["pictures"])
        difference = float(np.abs(given - np.array(expected[precision], np.float32)).max())
        if not difference <= expected["tolerances"][precision]:  # false for what is no number
            raise SightlineError(
                f"{release.folder}: the {precision} graph is {difference:.3f} off in probability on this machine",
                "stay with the release before" if precision == FLOAT32 else 'take precision = "float32"',
            )
        found[precision] = difference
    return found


def answers(release: Release, precision: str, names: list[str]) -> np.ndarray:
    """Probabilities, (N, C) float32, of these pictures as neighbouring frames. Raises SightlineError."""
    model, frames = load(release, precision, 1), []
    for name in names:
        file = release.folder / FOLDER / name
        rgb = decode(file.read_bytes()) if file.is_file() else None
        if rgb is None:
            raise SightlineError(f"{file}: cannot be read as a picture", "see requirements.txt for the versions")
        frames.append(model.prepare(rgb))
    return np.stack(list(model.probabilities(frames)))
