"""HTTP: manifests, pages of links, single files; lines that break, servers that lie, and what is not fetched twice."""

import hashlib
import json
import os
import random
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.core import paths
from components.core.errors import SightlineError
from components.ingest.sources import copies, locate, web
from components.ingest.sources.listing import read_manifest, read_page
from tests.footage import REPOSITORY
from tests.ingest.servers import serve

BIG = random.Random(1).randbytes(3_000_000)


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A folder that is served; what fails is tried again at once."""
    monkeypatch.setattr(web, "BACKOFF_S", 0.01)
    monkeypatch.setenv("NO_PROXY", "*")
    (tmp_path / "site").mkdir()
    with serve(tmp_path / "site") as folder:
        yield folder


def manifest(server, *names, folder="set"):
    """Writes a manifest as `sha256sum` does, and returns its address."""
    lines = (f"{hashlib.sha256((server.root / folder / n).read_bytes()).hexdigest()}  {n}\n" for n in names)
    (server.root / folder / "SHA256SUMS").write_text("".join(lines))
    return f"{server.url}/{folder}/SHA256SUMS"


def prefix(server):
    return server.url.replace("http://", "http/")


def test_a_page_of_links(root, named, fill, server):
    fill(server.root / "set", "a.mp4", "day one/b&c.png", "day one/late/d é.mp4", "labels.csv", "notes.md", ".x.mp4")
    source = locate(named(f"{server.url}/set/"))
    assert source.files == ("a.mp4", "day one/b&c.png", "day one/late/d é.mp4")
    assert source.ignored == 2 and source.labels.read_bytes() == b"labels.csv"
    uri = source.uri("day one/late/d é.mp4")
    assert uri == f"{server.url}/set/day%20one/late/d%20%C3%A9.mp4"
    assert paths.resolve(uri) == source.root / "day one/late/d é.mp4"
    assert paths.resolve(uri).read_bytes() == "day one/late/d é.mp4".encode()
    assert source.root == root / ".sightline" / "fetched" / prefix(server) / "set"
    assert locate(named(f"{server.url}/set")).files == source.files  # the server adds the slash


@pytest.mark.parametrize("kind", ["sums", "csv", "json"])
def test_manifests(root, named, fill, server, kind):
    fill(server.root / "set", "a.mp4", "d/b.mp4", "labels.csv", "d/#c?.mp4", "notes.bin")
    names = ["a.mp4", "./d/b.mp4", "labels.csv", "d/#c?.mp4", "notes.bin"]
    facts = [(n, (server.root / "set" / n).stat().st_size,
              hashlib.sha256((server.root / "set" / n).read_bytes()).hexdigest()) for n in names]  # fmt: skip
    text = {
        "sums": "".join(f"{digest.upper()} *{name}\n" for name, _, digest in facts),
        "csv": "sha256,path,bytes\n" + "".join(f'{digest},"{name}",{size}\n' for name, size, digest in facts),
        "json": json.dumps([{"path": n, "bytes": s, "sha256": d} for n, s, d in facts[:-1]] + [facts[-1][0]]),
    }[kind]
    (server.root / "set" / "list.txt").write_text(text)
    source = locate(named(f"{server.url}/set/list.txt"))
    assert source.files == ("a.mp4", "d/#c?.mp4", "d/b.mp4") and source.ignored == 2 and source.refused == ()
    assert source.uri("d/#c?.mp4") == f"{server.url}/set/d/%23c%3F.mp4" and source.labels
    assert all(paths.resolve(source.uri(name)).read_bytes() == name.encode() for name in source.files)


def test_one_file_and_an_archive(root, named, fill, server):
    fill(server.root / "set", "a b.mp4", "c.mp4")
    source = locate(named(f"{server.url}/set/a b.mp4"))
    assert source.files == ("a b.mp4",) and paths.resolve(source.uri("a b.mp4")).read_bytes() == b"a b.mp4"
    import zipfile

    with zipfile.ZipFile(server.root / "set" / "batch.zip", "w") as archive:
        archive.writestr("in/x y.mp4", b"film")
    source = locate(named(f"{server.url}/set/batch.zip"))
    uri = source.uri("in/x y.mp4")
    assert uri == f"{server.url}/set/batch.zip!/in/x y.mp4" and paths.resolve(uri).read_bytes() == b"film"
    with pytest.raises(SightlineError, match="answers 404"):
        locate(named(f"{server.url}/set/none.zip"))
    with pytest.raises(SightlineError, match="'none.mp4': the server answers 404"):
        locate(named(f"{server.url}/set/none.mp4"))
    with pytest.raises(SightlineError, match="answers 404"):
        locate(named(f"{server.url}/none/"))


def test_only_what_changed_is_fetched_again(root, named, fill, server):
    fill(server.root / "set", "a.mp4", "b.mp4", "labels.csv")
    locate(named(f"{server.url}/set/"))
    server.asked.clear()
    (server.root / "set" / "b.mp4").write_bytes(b"new b.mp4")
    fill(server.root / "set", "c.mp4")
    source = locate(named(f"{server.url}/set/"))
    tags = {name: condition for name, _, condition in server.asked}
    assert tags["/set/a.mp4"] and tags["/set/b.mp4"] and tags["/set/c.mp4"] is None
    assert paths.resolve(source.uri("b.mp4")).read_bytes() == b"new b.mp4"
    assert source.files == ("a.mp4", "b.mp4", "c.mp4")
    for name in ("a.mp4", "labels.csv"):
        (server.root / "set" / name).unlink()
    gone = locate(named(f"{server.url}/set/"))
    assert gone.files == ("b.mp4", "c.mp4") and gone.labels is None
    # With checksums nothing is asked for at all; a copy that somebody changed is fetched again.
    address = manifest(server, "b.mp4", "c.mp4")
    locate(named(address))
    server.asked.clear()
    locate(named(address))
    assert [name for name, _, _ in server.asked] == ["/set/SHA256SUMS"]
    paths.resolve(source.uri("c.mp4")).write_bytes(b"spoilt")
    assert paths.resolve(locate(named(address)).uri("c.mp4")).read_bytes() == b"c.mp4"


def test_a_server_without_tags_is_asked_by_time(root, named, fill, server):
    server.tags = False
    fill(server.root / "set", "a.mp4")
    locate(named(f"{server.url}/set/a.mp4"))
    locate(named(f"{server.url}/set/a.mp4"))
    assert [bool(condition) for _, condition in server.requests("/set/a.mp4")] == [False, True]


def test_a_broken_line_is_taken_up_where_it_broke(root, named, server, monkeypatch):
    (server.root / "set").mkdir()
    (server.root / "set" / "a.mp4").write_bytes(BIG)
    server.faults = {"/set/a.mp4": ["cut", 503, "cut"]}
    source = locate(named(f"{server.url}/set/a.mp4"))
    assert paths.resolve(source.uri("a.mp4")).read_bytes() == BIG
    ranges = [asked for asked, _ in server.requests("/set/a.mp4")]
    assert ranges[0] is None and ranges[1] == ranges[2] and int(ranges[1][6:-1]) > 1_000_000
    assert int(ranges[3][6:-1]) > int(ranges[1][6:-1])
    assert not [path for path in source.root.iterdir() if ".part" in path.name]


def test_what_a_killed_run_fetched_is_gone_on_with(root, named, server):
    """The other run dies with half of the file; the next asks for the rest, if the file is still the same."""
    (server.root / "set").mkdir()
    (server.root / "set" / "a.mp4").write_bytes(BIG)
    server.faults = {"/set/a.mp4": ["cut"] + [503] * 99}
    with pytest.raises(SightlineError, match="what was fetched is kept"):
        locate(named(f"{server.url}/set/a.mp4"))
    server.faults.clear()
    server.asked.clear()
    assert paths.resolve(locate(named(f"{server.url}/set/a.mp4")).uri("a.mp4")).read_bytes() == BIG
    assert server.requests("/set/a.mp4")[0][0].startswith("bytes=1")


@pytest.mark.parametrize("ranges", [True, False])
def test_a_part_of_another_version_is_not_gone_on_with(root, named, server, ranges):
    (server.root / "set").mkdir()
    (server.root / "set" / "a.mp4").write_bytes(BIG)
    server.faults = {"/set/a.mp4": ["cut"] + [503] * 99}
    with pytest.raises(SightlineError):
        locate(named(f"{server.url}/set/a.mp4"))
    server.faults.clear()
    server.ranges = ranges
    if ranges:
        (server.root / "set" / "a.mp4").write_bytes(BIG[::-1])
    expected = (server.root / "set" / "a.mp4").read_bytes()
    assert paths.resolve(locate(named(f"{server.url}/set/a.mp4")).uri("a.mp4")).read_bytes() == expected


def test_a_part_that_is_already_whole(root, named, fill, server):
    fill(server.root / "set", "a.mp4")
    source = locate(named(f"{server.url}/set/a.mp4"))
    copy, known = copies.Copy(source.root / "a.mp4"), copies.Copy(source.root / "a.mp4").state()
    copy.begin(copies.State(etag=known.etag))
    copy.part.write_bytes(b"a.mp4")
    copy.target.unlink()
    assert paths.resolve(locate(named(f"{server.url}/set/a.mp4")).uri("a.mp4")).read_bytes() == b"a.mp4"


def test_what_is_not_as_listed_is_refused_and_the_rest_is_not_lost(root, named, fill, server):
    fill(server.root / "set", "ok.mp4", "b.mp4", "short.mp4", "long.mp4")
    digest = hashlib.sha256(b"b.mp4").hexdigest()
    rows = ["a.mp4,,", f"b.mp4,,{'0' * 64}", "gone.mp4,,", "short.mp4,10,", "long.mp4,3,", "../up.mp4,,", "/abs.mp4,,",
            "https://x/y.mp4,,", "c.mp4,many,", "d.mp4,,beef", "a.mp4,,", "a.mp4/x.mp4,,", "ok.mp4,,"]  # fmt: skip
    (server.root / "set" / "list.csv").write_text("path,bytes,sha256\n" + "\n".join(rows))
    source = locate(named(f"{server.url}/set/list.csv"))
    assert source.files == ("ok.mp4",)
    reasons = dict(source.refused)
    assert reasons["b.mp4"] == f"its SHA-256 is {digest}, its listing says {'0' * 64}"
    assert reasons["gone.mp4"] == "the server answers 404 Not Found"
    assert reasons["short.mp4"] == "9 bytes were sent, its listing says 10"
    assert reasons["long.mp4"] == "more bytes are sent than the 3 announced"
    assert "`..`" in reasons["../up.mp4"] and "absolute" in reasons["/abs.mp4"]
    assert "an address of its own" in reasons["https://x/y.mp4"] and "no SHA-256" in reasons["d.mp4"]
    assert "no number of bytes" in reasons["c.mp4"] and reasons["a.mp4"] == "there is a file and a folder of this name"
    assert not [path.name for path in source.root.rglob("*") if path.name in ("b.mp4", "short.mp4", "long.mp4")]


def test_a_busy_server_is_asked_again_and_a_broken_one_ends_it(root, named, fill, server):
    fill(server.root / "set", "a.mp4", "b.mp4")
    server.faults = {"/set/": [500, 429], "/set/a.mp4": [502, 503]}
    assert locate(named(f"{server.url}/set/")).files == ("a.mp4", "b.mp4")
    server.faults = {"/set/": [500] * 99}
    with pytest.raises(SightlineError, match="cannot be fetched: too many 500 error responses"):
        locate(named(f"{server.url}/set/"))
    server.faults = {"/set/": [403]}
    with pytest.raises(SightlineError, match="answers 403 Forbidden"):
        locate(named(f"{server.url}/set/"))


def test_redirects(root, named, fill, server):
    fill(server.root / "set", "a.mp4", "b.mp4", "c.mp4")
    fill(server.root / "moved", "a.mp4")
    server.faults = {
        "/set/a.mp4": [f"{server.url}/moved/a.mp4"], "/set/b.mp4": ["file:///etc/passwd"],
        "/set/c.mp4": [f"{server.url}/set/c.mp4"] * 99,
    }  # fmt: skip
    source = locate(named(manifest(server, "a.mp4", "b.mp4", "c.mp4")))
    assert [name for name, _ in source.refused] == ["b.mp4", "c.mp4"]
    assert all("a redirect that is not followed" in reason for _, reason in source.refused)
    assert not (source.root / "b.mp4").exists()


def test_no_server(root, named, monkeypatch):
    monkeypatch.setattr(web, "BACKOFF_S", 0.001)
    with pytest.raises(SightlineError, match="http://127.0.0.1:9/set/: cannot be fetched: .*refused"):
        locate(named("http://127.0.0.1:9/set/"))


def test_no_listing(root, named, fill, server):
    fill(server.root / "set", "list.csv", "bad.txt")
    (server.root / "set" / "bad.txt").write_bytes(b"\xff\xfe\0")
    with pytest.raises(SightlineError, match="no manifest: neither .SHA-256  path"):
        locate(named(f"{server.url}/set/list.csv"))
    with pytest.raises(SightlineError, match="no UTF-8 text"):
        locate(named(f"{server.url}/set/bad.txt"))


def test_a_disk_that_is_too_small(root, named, fill, server):
    fill(server.root / "set", "a.mp4")
    (server.root / "set" / "list.csv").write_text(f"path,bytes\na.mp4,{10**17}\n")
    with pytest.raises(SightlineError, match="100000000.0 GB to fetch, .* free"):
        locate(named(f"{server.url}/set/list.csv"))


def test_a_killed_process_leaves_no_half_file(root, named, server):
    """SIGKILL while files come in: what is there by its name is whole, and the next run brings the rest."""
    (server.root / "set").mkdir()
    for number in range(40):
        (server.root / "set" / f"{number:02d}.mp4").write_bytes(random.Random(number).randbytes(200_000))
    address = manifest(server, *sorted(os.listdir(server.root / "set")))
    code = (
        "from components.core.recipe import parse_recipe; from components.ingest.sources import locate\n"
        f"locate(parse_recipe('made', {{'task': {{'classes': ['a', 'b']}}, 'source': {address!r},"
        " 'training': {'lr': 1, 'penalty': 1}}))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY, stderr=subprocess.DEVNULL)
    folder = root / ".sightline" / "fetched" / prefix(server) / "set"
    deadline = time.monotonic() + 120
    while len(list(folder.glob("[0-9]*.mp4"))) < 3 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)
    process.kill()
    process.wait()
    there = list(folder.glob("[0-9]*.mp4"))
    assert there and all(path.read_bytes() == (server.root / "set" / path.name).read_bytes() for path in there)
    source = locate(named(address))
    assert len(source.files) == 40 and source.refused == ()
    assert all((source.root / n).read_bytes() == (server.root / "set" / n).read_bytes() for n in source.files)


PAGE = """<a href="a.mp4">a</a><A HREF='b%20c.mp4'>b</A><a href=/set/d.mp4>d</a><a href="http://h/set/e.mp4">e</a>
<a href="?C=N;O=D">sort</a><a href="../">up</a><a href="/">top</a><a href="#x">x</a><a>none</a><a href="sub/">s</a>
<a href="../out.mp4">o</a><a href="/set/../out2.mp4">o</a><a href="x/%2e%2e/%2e%2e/out3.mp4">o</a><a href="./">self</a>
<a href="//other/f.mp4">f</a><a href="https://other/g.mp4">g</a><a href="mailto:x@y">m</a><a href="a.mp4">again</a>
<a href="javascript:void(0)">j</a><img src="h.png"><a href="%5cx.mp4">w</a><a href="i.mp4?x=1">i</a><a href="j.mp4"""


def test_links_of_a_page():
    found = read_page(PAGE, "http://h/set/", "http://h/set/")
    assert [entry.name for entry in found.entries] == ["a.mp4", "b c.mp4", "d.mp4", "e.mp4"]
    assert found.folders == ["http://h/set/sub/"]
    assert {name for name, _ in found.refused} == {
        "../out.mp4", "/set/../out2.mp4", "x/../../out3.mp4", "\\x.mp4",
    }  # fmt: skip


@given(st.text(max_size=200))
def test_no_text_breaks_the_parsers(text):
    for html in (text, f'<a href="{text}.mp4">'):
        found = read_page(html, "http://h/set/", "http://h/set/")
        assert all(".." not in entry.name.split("/") and not entry.name.startswith("/") for entry in found.entries)
    try:
        found = read_manifest(text, "http://h/set/")
    except ValueError:
        return
    assert all(".." not in entry.name.split("/") for entry in found.entries)
