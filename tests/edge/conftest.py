"""Archives of real champions, unpacked as on a device, and a receiver as a process."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from components.edge.build import build
from components.edge.device.release import Release, unpack
from tests.edge import making
from tests.footage import write_clip


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A workspace with a small temporal model as champion; `toy.tar.gz` in it is the archive."""
    folder = tmp_path_factory.mktemp("edge")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SIGHTLINE_WORKSPACE", str(folder))
        recipe = making.champion(folder)
        build(recipe, folder / "toy.tar.gz", 0.5)
        yield folder


@pytest.fixture(scope="session")
def archive(root: Path) -> Path:
    """The archive of the small model."""
    return root / "toy.tar.gz"


@pytest.fixture(scope="session")
def unpacked(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Release:
    """The small model's archive, unpacked."""
    return unpack(archive, tmp_path_factory.mktemp("device") / "release")


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of 60 frames at 29.97 a second: the small model looks at all of them."""
    return write_clip(tmp_path_factory.mktemp("clips") / "gate.mp4", frames=60)


@pytest.fixture
def receive(tmp_path: Path) -> Iterator[Callable[..., making.Receiver]]:
    """Starts receivers, and ends them."""
    started = []

    def begin(*options: str, **more) -> making.Receiver:
        started.append(making.Receiver(tmp_path, *options, **more))
        return started[-1]

    yield begin
    for one in started:
        one.end()
