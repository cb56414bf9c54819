"""Footage that arrives in a recipe's folder."""

import httpx
import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from flows.inbox import LOOK_S, REST_S, Inbox, announce, listing, local_folder


@pytest.fixture
def folder(root):
    (root / "footage").mkdir()
    (root / "footage" / "a.mp4").write_bytes(b"a")
    return root / "footage"


def looks(inbox: Inbox, folder, times: list[float]) -> list[float]:
    """When, of these looks, the inbox announced something."""
    said = []
    return [now for now in times if inbox.look(folder, now, said.append)]


def test_what_is_there_is_announced_once_it_holds_still(folder):
    inbox = Inbox("toy")
    assert looks(inbox, folder, [0.0, 10.0, 20.0]) == [10.0]
    (folder / "b.mp4").write_bytes(b"b")
    assert looks(inbox, folder, [100.0]) == []
    (folder / "b.mp4").write_bytes(b"bb")  # it still grows
    assert looks(inbox, folder, [110.0]) == []
    assert looks(inbox, folder, [120.0, 130.0]) == [120.0]


def test_a_file_that_always_grows_does_not_hold_up_the_others(folder):
    inbox, announced = Inbox("toy"), []
    for step in range(20):
        with open(folder / "live.mp4", "ab") as file:
            file.write(b"x")
        if step == 5:
            (folder / "new.mp4").write_bytes(b"new")
        announced += looks(inbox, folder, [step * 100.0])
    assert announced == [100.0, 600.0]


def test_what_was_announced_stays_so_after_a_restart(folder):
    assert looks(Inbox("toy"), folder, [0.0, 10.0]) == [10.0]
    (folder / "b.mp4").write_bytes(b"b")
    assert looks(Inbox("toy"), folder, [0.0, 10.0]) == [10.0]
    assert looks(Inbox("toy"), folder, [0.0, 10.0, 20.0]) == []
    (folder / "a.mp4").unlink()
    assert looks(Inbox("toy"), folder, [0.0, 10.0]) == [], "nothing has arrived"
    (folder / "b.mp4").write_bytes(b"another")
    assert looks(Inbox("toy"), folder, [0.0, 10.0]) == [10.0]


def test_what_could_not_be_announced_is_announced_later(folder):
    """The real sender, to a server that is not there."""
    inbox = Inbox("toy")
    inbox.look(folder, 0.0, announce)
    nowhere = {PREFECT_API_URL: "http://127.0.0.1:9/api", PREFECT_CLIENT_MAX_RETRIES: 0}
    with temporary_settings(nowhere), pytest.raises((httpx.HTTPError, RuntimeError)):
        inbox.look(folder, 10.0, announce)
    assert looks(inbox, folder, [20.0]) == [20.0]


def test_a_folder_that_is_filled_for_hours_is_announced_at_most_every_minute(folder):
    inbox, times = Inbox("toy"), []
    for step in range(60):
        if step % 2 == 0:
            (folder / f"{step}.mp4").write_bytes(b"x")
        times += looks(inbox, folder, [step * LOOK_S])
    assert len(times) > 5 and min(b - a for a, b in zip(times, times[1:], strict=False)) >= REST_S


def test_hidden_files_do_not_count(folder):
    before = listing(folder)
    (folder / ".part").write_bytes(b"half")
    (folder / ".tmp").mkdir()
    (folder / ".tmp" / "x.mp4").write_bytes(b"x")
    assert listing(folder) == before


@pytest.mark.parametrize(
    "source, expected",
    [("footage", "footage"), ("footage/*.mp4", "footage"), ("nowhere", None), ("s3://bucket/x", None), ("*.mp4", None)],
)
def test_only_a_local_folder_is_an_inbox(folder, root, source, expected):
    assert local_folder(source) == (root / expected if expected else None)
    assert local_folder(str(folder)) == folder
