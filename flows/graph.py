"""The stage graph and what is out of date, asked of DVC itself, never parsed from its files."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from components.core import paths
from components.core.errors import SightlineError, UsageError
from components.core.recipe import nearest

# DVC's repository object is not made for several threads of one process.
_dvc = threading.RLock()
logging.getLogger("dvc.rwlock").setLevel(logging.ERROR)  # it tells of every lock that a killed run left behind


class Busy(Exception):
    """Another DVC process holds a file that this question needs; asking again later will do."""


@dataclass(frozen=True)
class StageNode:
    """One DVC stage of one recipe. `name` is DVC's (`frames@suspicious`), `upstream` those that end just before it."""

    name: str
    upstream: tuple[str, ...]
    cmd: str
    outs: tuple[str, ...]
    always_changed: bool = False

    @property
    def stage(self) -> str:
        """The stage's name without the recipe."""
        return self.name.partition("@")[0]


def read_graph(recipe: str, from_stage: str | None = None, until_stage: str | None = None) -> list[StageNode]:
    """The recipe's stages in an order in which they can run; with `from_stage`, that one and what follows from it, with
    `until_stage` that one and what it follows from.

    Where a stage reads what another recipe's stage made, that one and all that it follows from are of it too, but not
    with `until_stage`. Upstream names outside the selection are left out: such stages count as done. Raises UsageError
    for a recipe or stage that dvc.yaml does not have, naming the nearest.
    """
    import networkx as nx

    root = paths.workspace()
    with _dvc, _explained(root):
        repo = _open(root)
        with repo.lock:  # a DVC process that is writing dvc.lock leaves it half-written for a moment
            graph = repo.index.graph  # an edge leads from a stage to one that it reads from
        named = {stage.name: stage for stage in graph if stage.name}
        own = {name for name in named if name.partition("@")[2] == recipe}
        if not own:
            known = {name.partition("@")[2] for name in named} - {""}
            raise UsageError(f"dvc.yaml has no stages of a recipe {recipe!r}", nearest(recipe, sorted(known)))
        read = own
        if until_stage is None:  # who asks for a part has its own in mind, and trains nobody else's model for it
            read = own.union(*({up.name for up in nx.descendants(graph, named[name])} for name in own))
        mine = {name: stage for name, stage in named.items() if name in read}
        # Ties in the order are broken by dvc.yaml's own order, which the graph keeps.
        position = {name: index for index, name in enumerate(mine)}
        edges = {name: {up.name for up in graph.successors(stage)} for name, stage in mine.items()}
    forward = nx.DiGraph()
    forward.add_nodes_from(mine)
    forward.add_edges_from((up, name) for name, ups in edges.items() for up in ups if up in mine)
    for stage, along in ((from_stage, nx.descendants), (until_stage, nx.ancestors)):
        if stage is None:
            continue
        end = f"{stage.partition('@')[0]}@{recipe}"
        if end not in mine:
            known = [name.partition("@")[0] for name in own]
            raise UsageError(f"recipe {recipe} has no stage {stage!r}", nearest(stage, known))
        forward = forward.subgraph({end} | (along(forward, end) if end in forward else set()))
    order = list(nx.lexicographical_topological_sort(forward, key=position.__getitem__))
    forward = nx.transitive_reduction(forward)  # who waits for B, which waits for A, need not wait for A
    return [_node(mine[name], sorted(forward.predecessors(name), key=position.__getitem__)) for name in order]


def is_current(name: str) -> bool:
    """Whether `dvc repro` would skip the stage `name`: code, parameters, inputs and outputs are those of dvc.lock.

    It is the very test that `dvc repro` makes, without the second that a process for it takes. Raises Busy while
    another process is writing what has to be looked at.
    """
    from dvc.lock import LockError
    from dvc.rwlock import RWLockFileCorruptedError, RWLockFileFormatError

    root = paths.workspace()
    with _dvc, _explained(root):
        repo = _open(root)
        try:
            with repo.lock:
                stage = repo.stage.load_one(path=str(root / "dvc.yaml"), name=name)
                return not stage.changed()
        except (LockError, RWLockFileCorruptedError, RWLockFileFormatError) as error:
            raise Busy(str(error)) from None
        finally:
            repo.close()


def _open(root: Path):
    from dvc.repo import Repo

    return Repo(str(root), _wait_for_lock=True)


@contextmanager
def _explained(root: Path) -> Iterator[None]:
    """Turns what DVC has to say about its repository or dvc.yaml into an error with a remedy."""
    from dvc.exceptions import DvcException

    try:
        yield
    except DvcException as error:
        raise SightlineError(
            f"{root}: {error}", "run inside a checkout of the project (git and .dvc), and correct what DVC names"
        ) from None


def _node(stage, upstream: list[str]) -> StageNode:
    outs = tuple(out.def_path for out in stage.outs)
    cmd = stage.cmd if isinstance(stage.cmd, str) else " && ".join(stage.cmd or ())
    return StageNode(stage.name, tuple(upstream), cmd, outs, bool(stage.always_changed or stage.is_callback))
