"""Back-up and restore of a workspace whose champion was promoted and published by the real stages."""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from components.core import paths, tracking
from components.core.errors import SightlineError, UsageError
from components.core.files import file_sha256
from components.deployment import __main__ as deployment
from components.promotion import __main__ as promotion
from components.promotion import compare, registry
from flows import archive, backup, databases, kept, restore
from tests.deployment import making
from tests.flows import toy
from tests.serving.conftest import Service, wait_for

PROJECT = Path(__file__).resolve().parents[2]
EVENTS = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.chmod", "ctypes.dlsym", "open"}


def enter(root: Path, patch: pytest.MonkeyPatch) -> None:
    """Makes `root` the current workspace."""
    patch.setenv("SIGHTLINE_WORKSPACE", str(root))
    patch.delenv("MLFLOW_TRACKING_URI", raising=False)
    patch.chdir(root)


def promoted(root: Path) -> None:
    """Promotes and publishes a model in the workspace `root`, the current one."""
    recipe = making.write_params(root)
    data = root / "data" / making.RECIPE
    making.write_tables(data)
    making.write_model(data, recipe, 1)
    making.write_evaluation(data, 2.0, 1)
    making.write_lineage(root, data)
    promotion.main(recipe)
    deployment.main(recipe)


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a champion, state of every kind, and caches."""
    root = tmp_path_factory.mktemp("origin") / "cameras"
    root.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        enter(root, patch)
        patch.setattr(compare, "RESAMPLES", 50)
        making.give_store(root)
        promoted(root)
    state = root / ".sightline"
    for name, text in {"monitoring/toy.json": "[]", "work/frames/ab.parquet": "cache", "logs/x.log": "log"}.items():
        (state / name).parent.mkdir(parents=True, exist_ok=True)
        (state / name).write_text(text)
    (state / "prefect").mkdir()
    with closing(sqlite3.connect(state / "prefect" / "prefect.db")) as database, database:
        database.execute("pragma journal_mode=wal")
        database.execute("create table flow_run (id varchar)")
        database.execute("insert into flow_run values ('r')")
    return root


@pytest.fixture
def here(origin: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The workspace with a champion, the current one."""
    enter(origin, monkeypatch)
    return origin


@pytest.fixture(scope="module")
def kept_archive(origin: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of it."""
    with pytest.MonkeyPatch.context() as patch:
        enter(origin, patch)
        return Path(backup.back_up(str(tmp_path_factory.mktemp("kept") / "a.tar"), None, False, print).archive)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace without any state, the current one."""
    root = tmp_path / "elsewhere"
    making.write_params(root)
    enter(root, monkeypatch)
    return root


def champion() -> tuple[int, str]:
    """(version, digest of the model) of the registry's champion, whose artifacts are there."""
    version = tracking.version_by_alias(making.RECIPE, tracking.CHAMPION)
    table, _, missing = registry.evidence(version)
    assert table is not None, missing
    return int(version.version), version.tags[tracking.MODEL_DIGEST]


def answer(root: Path) -> bytes:
    """What a service started in the workspace says of a picture."""
    running = Service(root)
    try:
        wait_for(lambda: running.ready().get("model"), 120)
        headers = {"content-type": "image/jpeg", "x-request-id": "one"}
        content = making.encode_jpeg(making.picture(3, 120, 200), 92)
        reply = httpx.post(f"{running.url}/v1/predict", content=content, headers=headers, timeout=120)
        assert reply.status_code == 200 and reply.json()["model"]["version"] == 1
        return reply.content
    finally:
        running.end()


def digests(root: Path, ignored: set[str] = frozenset(kept.STAYS)) -> dict[str, str]:
    """Name -> digest of the files of a workspace's state, apart from folders that are ignored and what SQLite keeps
    beside a database while it is read."""
    files = [(path.relative_to(root / ".sightline"), path) for path in (root / ".sightline").rglob("*")]
    wanted = [(name, path) for name, path in files if path.is_file() and not path.name.endswith(databases.COMPANIONS)]
    return {str(name): file_sha256(path) for name, path in wanted if name.parts[0] not in ignored}


def test_loss_and_restore_bring_the_same_champion_and_the_same_answer(here, tmp_path):
    said, before = champion(), answer(here)
    taken = backup.back_up(str(tmp_path / "backups"), None, False, print)
    assert taken.champions == {"toy": 1} and Path(taken.archive).stat().st_mode & 0o777 == 0o600
    lock, params = (here / "dvc.lock").read_bytes(), (here / "params.yaml").read_bytes()
    shutil.rmtree(here / ".sightline")
    (here / "dvc.lock").unlink()
    (here / "params.yaml").write_bytes(params + b"# other\n")

    done = restore.restore(taken.archive, None, False, print)
    assert done.champions == {"toy": 1}
    assert champion() == said and answer(here) == before
    assert (here / "dvc.lock").read_bytes() == lock and (here / "params.yaml").read_bytes() == params
    assert (here / done.replaced / "params.yaml").read_bytes() == params + b"# other\n"
    with closing(sqlite3.connect(here / ".sightline/prefect/prefect.db")) as database:
        assert database.execute("select id from flow_run").fetchall() == [("r",)]


def test_elsewhere_the_artifacts_are_found_too(here, kept_archive, tmp_path, monkeypatch):
    said = champion()
    other = tmp_path / "an other place"
    making.write_params(other)
    enter(other, monkeypatch)
    restore.restore(str(kept_archive), None, False, print)
    assert champion() == said
    version = tracking.version_by_alias(making.RECIPE, tracking.CHAMPION)
    assert version.source.startswith(paths.state("mlflow").as_uri())
    assert not list(other.glob(".sightline.*"))


def test_a_workspace_with_a_registry_is_left_alone_unless_forced(kept_archive, elsewhere):
    making.give_store(elsewhere)
    (elsewhere / ".sightline/work").mkdir()
    (elsewhere / ".sightline/work/entry").write_text("cache")
    before = digests(elsewhere)
    with pytest.raises(UsageError, match="has a registry"):
        restore.restore(str(kept_archive), None, False, print)
    assert digests(elsewhere) == before
    done = restore.restore(str(kept_archive), None, True, print)
    assert champion()[0] == 1
    assert (elsewhere / ".sightline/work/entry").read_text() == "cache", "caches stay"
    assert file_sha256(elsewhere / done.replaced / "sightline/mlflow/mlflow.db") == before["mlflow/mlflow.db"]


def test_a_workspace_in_use_is_left_alone(kept_archive, elsewhere):
    turn = paths.state("run", "turns", "toy.json")
    turn.parent.mkdir(parents=True)
    with open(turn, "w") as handle:
        assert archive.locks(handle)
        with pytest.raises(SightlineError, match="in use by a run of toy"):
            restore.restore(str(kept_archive), None, True, print)
    with kept.alone(), pytest.raises(SightlineError, match="another back-up or restore goes on"):
        restore.restore(str(kept_archive), None, True, print)


def test_a_cut_archive_is_refused(kept_archive, elsewhere, tmp_path):
    content, cut = kept_archive.read_bytes(), tmp_path / "cut.tar"
    for size in (0, 1, 512, 5000, len(content) // 2, len(content) - 12000):
        cut.write_bytes(content[:size])
        with pytest.raises(SightlineError, match="take another archive"):
            restore.restore(str(cut), None, False, print)
        assert not paths.state("mlflow").exists() and not kept.beside().exists()
    with pytest.raises(SightlineError, match="is not there"):
        restore.restore(str(tmp_path / "none.tar"), None, False, print)


def test_a_flipped_byte_is_found_wherever_it_changes_anything(kept_archive, tmp_path):
    """Between files a tar has bytes that mean nothing: there, what is unpacked is what was packed."""
    content, flipped = kept_archive.read_bytes(), tmp_path / "flipped.tar"
    files = archive.manifest(kept_archive)["files"]
    refused = 0
    for place in [*range(0, 1024, 73), *range(0, len(content), len(content) // 70)]:
        flipped.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        folder = tmp_path / f"at-{place}"
        try:
            assert archive.unpack(flipped, folder)["files"] == files
            assert {name: file_sha256(folder / name) for name in files} == {n: f["sha256"] for n, f in files.items()}
        except SightlineError:
            refused += 1
        shutil.rmtree(folder, ignore_errors=True)
    assert refused > 50


def test_a_bundle_that_is_not_its_pointers_is_refused(here, elsewhere, tmp_path, monkeypatch):
    enter(here, monkeypatch)
    graph = here / ".sightline/deployed/toy/v1/model.onnx"
    content = graph.read_bytes()
    graph.write_bytes(b"x" + content[1:])
    taken = backup.back_up(str(tmp_path), None, False, print)
    graph.write_bytes(content)
    enter(elsewhere, monkeypatch)
    with pytest.raises(SightlineError, match="not those the bundle names"):
        restore.restore(taken.archive, None, False, print)
    assert not paths.state("mlflow").exists()


def killed_at(event: int, action: Callable[[], object]) -> bool:
    """Calls `action` in a process that ends itself by -9 before its change number `event` to the file system; whether
    it came so far."""
    child = os.fork()
    if child == 0:
        left = event

        def hook(name: str, arguments: tuple) -> None:
            nonlocal left
            if name in EVENTS and (name != "open" or arguments[2] & (os.O_WRONLY | os.O_RDWR)):
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            sys.addaudithook(hook)
            action()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def points(action: Callable[[int], bool]) -> None:
    """Calls action(0), action(17), ... until one is not killed; then every one of the last ones."""
    last = 0
    while action(last):
        last += 17
    for number in range(max(0, last - 34), last):
        action(number)


@pytest.mark.slow
def test_a_restore_killed_anywhere_leaves_the_old_or_the_new_whole(kept_archive, tmp_path, monkeypatch):
    """Slow: some forty kills, each at another change to the file system, and after each a restore that mends it."""
    new = tmp_path / "expected"
    making.write_params(new)
    enter(new, monkeypatch)
    restore.restore(str(kept_archive), None, False, print)
    seen = set()

    def at(number: int) -> bool:
        root = tmp_path / f"at-{number}" / "cameras"
        making.write_params(root)
        (root / "params.yaml").write_text("recipes: {}\n")
        making.give_store(root)
        (root / ".sightline/work").mkdir()
        (root / ".sightline/work/entry").write_text("cache")
        old = digests(root)
        enter(root, monkeypatch)
        killed = killed_at(number, lambda: restore.restore(str(kept_archive), None, True, print))
        names = set(digests(root))
        assert names in (set(old), set(digests(new))), "one or the other, nothing between"
        if names == set(old):
            assert digests(root) == old
        seen.add((killed, names == set(old)))
        done = restore.restore(str(kept_archive), None, True, print)
        assert set(digests(root)) == set(digests(new)) and done.champions == {"toy": 1}
        assert (root / "params.yaml").read_bytes() == (new / "params.yaml").read_bytes()
        assert (root / ".sightline/work/entry").read_text() == "cache"
        assert not list(root.glob(".sightline.*")) and not kept.unfinished().exists()
        (put_aside,) = {file_sha256(file) for file in root.glob(".sightline/replaced/*/sightline/mlflow/mlflow.db")} & {
            old["mlflow/mlflow.db"]
        }
        shutil.rmtree(root.parent)
        return killed

    points(at)
    assert {(True, True), (True, False), (False, False)} <= seen, "before the exchange, after it, and not at all"


def test_a_backup_killed_anywhere_leaves_no_part_and_the_state_as_it_was(here, tmp_path):
    before = digests(here, set())

    def at(number: int) -> bool:
        to = tmp_path / "backups" / "a.tar"
        killed = killed_at(number, lambda: backup.back_up(str(to), None, False, print))
        assert digests(here, set()) == before
        if to.exists():
            archive.unpack(to, tmp_path / f"whole-{number}")
            to.unlink()
        else:
            assert killed
        return killed

    points(at)
    backup.back_up(str(tmp_path / "backups" / "b.tar"), None, False, print)
    assert [path.name for path in (tmp_path / "backups").iterdir()] == ["b.tar"]
    assert not list(here.glob(".sightline.*"))


def test_a_database_is_copied_as_it_was_at_one_instant(tmp_path):
    """While another writes two rows that belong together, again and again, in one transaction each."""
    source = tmp_path / "live.db"
    with closing(sqlite3.connect(source)) as database:
        database.executescript("pragma journal_mode=wal; create table a (n); create table b (n);")
    stop, written = threading.Event(), threading.Event()

    def write() -> None:
        with closing(sqlite3.connect(source, timeout=60)) as database:
            number = 0
            while not stop.is_set():
                with database:
                    database.execute("insert into a values (?)", (number,))
                    database.execute("insert into b values (?)", (number,))
                number += 1
                written.set()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert written.wait(60)
        for turn in range(20):
            databases.copy_sqlite(source, tmp_path / f"{turn}.db")
            counts = [next(databases.texts(tmp_path / f"{turn}.db", f"select count(*) from {t}")) for t in "ab"]
            assert counts[0] == counts[1] != "0"
    finally:
        stop.set()
        writer.join(60)
    (tmp_path / "bad.db").write_bytes(databases.SQLITE_HEAD + os.urandom(5000))
    with pytest.raises(SightlineError, match=r"bad\.db: (cannot be copied|is damaged)"):
        databases.copy_sqlite(tmp_path / "bad.db", tmp_path / "copy.db")


def test_everything_that_the_code_keeps_in_the_state_is_decided_on():
    """A folder of `.sightline/` in neither list would be kept without anybody having thought of it."""
    found = set()
    for file in [*PROJECT.glob("components/**/*.py"), *PROJECT.glob("flows/**/*.py")]:
        found |= set(re.findall(r'\bstate\("(\w+)"', file.read_text()))
    assert len(found) > 10
    assert found <= set(kept.KEPT) | set(kept.STAYS)


def test_an_mlflow_server_of_others_needs_its_database_named(here, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    with pytest.raises(UsageError, match="--registry postgresql"):
        backup.back_up("/nowhere", None, False, print)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{here}/.sightline/mlflow/mlflow.db")
    assert kept.registry(None).kind == kept.WORKSPACE
    with pytest.raises(UsageError, match="not a PostgreSQL database"):
        kept.registry("mysql://x/y")


def test_the_commands(here, tmp_path):
    taken = toy.sightline(here, "backup", str(tmp_path / "b"), "--json")
    assert taken.returncode == 0, taken.stderr
    body = json.loads(taken.stdout)
    assert body["champions"] == {"toy": 1} and body["sha256"] == file_sha256(body["archive"])
    assert any("data/" in one for one in body["left_out"])
    again = toy.sightline(here, "backup", body["archive"])
    assert again.returncode == 2 and "is there already" in again.stderr
    refused = toy.sightline(here, "restore", body["archive"])
    assert refused.returncode == 2 and "has a registry" in refused.stderr
    checked = toy.sightline(here, "restore", body["archive"], "--check")
    assert checked.returncode == 0 and "toy: champion version 1" in checked.stderr


def test_a_disk_without_room_is_told_and_nothing_is_left(here, tmp_path):
    """Files of this process may be no larger than a limit below the archive's size, as on a disk that is full."""
    to = tmp_path / "full"
    before = digests(here, set())
    done = subprocess.run(
        ["bash", "-c", f"ulimit -f 2000; exec {sys.executable} -m flows.cli backup {to}"],
        cwd=here, env=toy.environment(here), capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 1 and "File too large" in done.stderr and "remedy: make room" in done.stderr, done.stderr
    assert list(to.iterdir()) == [] and digests(here, set()) == before and not list(here.glob(".sightline.*"))


def test_with_data_the_cache_comes_back(root, tmp_path, monkeypatch):
    """`root`: a toy workspace under DVC."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)  # MLflow sets it to the store used last
    making.give_store(root)
    toy.dvc(root, "repro")
    table = (root / "data/toy/join").read_bytes()
    taken = backup.back_up(str(tmp_path / "with.tar"), None, True, print)
    assert not any("data/" in one for one in taken.left_out)
    for lost in (".dvc/cache", "data", ".sightline"):
        shutil.rmtree(root / lost)
    restore.restore(taken.archive, None, False, print)
    toy.dvc(root, "checkout")
    assert (root / "data/toy/join").read_bytes() == table
