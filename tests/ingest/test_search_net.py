"""Manners: the rate as the server sees it, turns over processes, tries, redirects, robots.txt, endless answers."""

import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from components.core import paths
from components.ingest.search import net, robots, turns
from components.ingest.search.net import Manners, TooLarge, get
from components.ingest.search.robots import Forbidden
from components.ingest.search.turns import NotNow, turn
from components.ingest.sources.copies import Refused
from tests.footage import REPOSITORY
from tests.ingest.engines import serve_engine

QUICK = Manners(rate=1000, timeout_s=10, retries=2)
IMPATIENT = Manners(rate=1000, timeout_s=1, retries=2)  # where an answer never comes: it is waited for in full

ASKER = """
import sys
from components.ingest.search.net import Manners, get
for number in range(int(sys.argv[3])):
    get(f"{sys.argv[1]}/{number}", 1000, Manners(float(sys.argv[2]), 5, 0))
"""


@pytest.fixture
def engine(root, monkeypatch):
    """The engine, a workspace, and short waits."""
    monkeypatch.setattr(net, "BACKOFF_S", 0.01)
    monkeypatch.setenv("NO_PROXY", "*")
    net._session.cache_clear()
    with serve_engine() as served:
        served.files["/a"] = b"a"
        yield served


def test_the_rate_holds_over_processes_by_the_servers_clock(engine):
    rate, each = 20.0, 6
    engine.files |= {f"/{number}": b"x" for number in range(each)}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", ASKER, engine.url, str(rate), str(each)], cwd=REPOSITORY, env=os.environ
        )
        for _ in range(2)
    ]
    assert [process.wait(60) for process in started] == [0, 0]
    times = [at for at, _ in engine.asked]
    gaps = [after - before for before, after in zip(times, times[1:], strict=False)]
    # A file system's clock may tick a hundred times a second only.
    assert len(times) == 2 * each and min(gaps) > 1 / rate - 0.02
    assert times[-1] - times[0] > (len(gaps) - 1) / rate


def test_another_host_is_not_waited_for(engine):
    slow = Manners(rate=0.1, timeout_s=5, retries=0)
    with serve_engine() as other:
        other.files["/a"] = b"b"
        start = time.monotonic()
        assert get(f"{engine.url}/a", 10, slow).content + get(f"{other.url}/a", 10, slow).content == b"ab"
        assert time.monotonic() - start < 9, "waiting would be 10"


@pytest.mark.parametrize("fault", [500, 503, 429, 408, "reset", "cut", "silent", "drip"])
def test_what_may_pass_is_tried_again(engine, fault, monkeypatch):
    monkeypatch.setattr(net, "LONGEST", 1)
    engine.files["/a"] = b"ab"
    engine.faults["/a"] = [fault, fault]
    manners = IMPATIENT if fault in ("silent", "drip") else QUICK
    assert get(f"{engine.url}/a", 1000, manners).content == b"ab"
    engine.faults["/a"] = (fault,)
    with pytest.raises(NotNow) as failed:
        get(f"{engine.url}/a", 1000, manners)
    assert engine.paths() == ["/a"] * 6 and str(failed.value) and " at 0x" not in str(failed.value)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451, 204])
def test_what_will_not_pass_is_asked_for_once(engine, status):
    engine.faults["/a"] = (status,)
    with pytest.raises(Refused, match=str(status)):
        get(f"{engine.url}/a", 10, QUICK)
    assert len(engine.asked) == 1


def test_retry_after_holds_for_all_who_ask_that_host(engine):
    engine.files["/b"] = b"b"
    engine.faults["/a"] = [(503, {"Retry-After": "1"})]
    with pytest.raises(NotNow):
        get(f"{engine.url}/a", 10, Manners(1000, 10, 0))
    assert get(f"{engine.url}/b", 10, QUICK).content == b"b"
    assert engine.asked[1][0] - engine.asked[0][0] > 0.95


def test_a_host_that_wants_to_be_left_alone_for_long_is(engine):
    later = format_datetime(datetime.now(UTC) + timedelta(hours=2), usegmt=True)
    engine.faults["/a"] = [(429, {"Retry-After": later})]
    start = time.monotonic()
    for path in "ab":
        with pytest.raises(NotNow):
            get(f"{engine.url}/{path}", 10, QUICK)
    assert engine.paths() == ["/a"] and time.monotonic() - start < 5
    assert [net._retry_after(text) for text in ("", "soon", "7", "-3", "Mon, 99 Jan 2000 00:00:00 GMT")] == [
        0,
        0,
        7,
        0,
        0,
    ]


def test_a_host_that_is_not_there_is_left_alone_for_a_while(root):
    gone = "http://127.0.0.1:9/a"
    with pytest.raises(NotNow, match="refused"):
        get(gone, 10, QUICK)
    with pytest.raises(NotNow, match="left alone"):
        get(gone, 10, QUICK)
    path = paths.state("work", "gather", "hosts", turns.host_name(gone))
    os.utime(path, (0, 0))
    with turn(gone, 1000):  # the while is over
        pass


def test_redirects(engine):
    moved = lambda target: (302, {"Location": target})  # noqa: E731
    engine.faults |= {"/1": (moved("/2"),), "/2": (moved(f"{engine.url}/a"),), "/loop": (moved("/loop"),)}
    reply = get(f"{engine.url}/1", 10, QUICK)
    assert reply.content == b"a" and reply.url == f"{engine.url}/a"
    with pytest.raises(Refused, match="more than 5 redirects"):
        get(f"{engine.url}/loop", 10, QUICK)
    assert engine.paths().count("/loop") == 6
    for target in ("file:///etc/passwd", "ftp://h/a", "http://", "http://[x", "gopher:a"):
        engine.faults["/1"] = (moved(target),)
        with pytest.raises(Refused, match="redirect"):
            get(f"{engine.url}/1", 10, QUICK)
    engine.faults["/1"] = ("astray",)  # to /a, with a body that nobody must wait for
    assert get(f"{engine.url}/1", 10, QUICK).content == b"a"
    with pytest.raises(Refused, match="unencrypted"):
        net._redirected("https://h/a", "http://h/b")


def test_an_answer_without_an_end(engine):
    engine.faults["/a"] = ("endless",)
    with pytest.raises(TooLarge, match=r"more than 0.1 MB are sent"):
        get(f"{engine.url}/a", 100_000, QUICK)
    assert len(engine.asked) == 1


def test_robots_txt_of_every_host_on_the_way(engine):
    with serve_engine() as other:
        other.files |= {"/private/a": b"a", "/robots.txt": b"User-agent: sightline\nDisallow: /private\n"}
        engine.faults["/a"] = ((302, {"Location": f"{other.url}/private/a"}),)
        with pytest.raises(Forbidden, match="robots.txt does not allow it"):
            get(f"{engine.url}/a", 10, QUICK, lambda url: robots.check(url, QUICK))
        assert other.paths() == ["/robots.txt"] and engine.paths() == ["/robots.txt", "/a"]
        other.files["/public"] = b"p"
        assert get(f"{other.url}/public", 10, QUICK, lambda url: robots.check(url, QUICK)).content == b"p"
        assert other.paths() == ["/robots.txt", "/public"]


def test_a_contact_is_told_where_there_is_one(monkeypatch):
    monkeypatch.delenv("SIGHTLINE_CONTACT", raising=False)
    assert net.agent().startswith("sightline/") and "@" not in net.agent()
    monkeypatch.setenv("SIGHTLINE_CONTACT", "me@example.org")
    assert net.agent().endswith("; me@example.org)")
