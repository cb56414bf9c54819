"""S3, against a real server (moto's) in a process of its own: listed, fetched, changed, gone, refused."""

import os
import subprocess
import sys
import time
import urllib.request
import zipfile

import boto3
import pytest

from components.core import paths
from components.core.errors import SightlineError
from components.ingest.sources import locate, objects
from tests.flows.toy import free_port

BUCKET = "footage"


@pytest.fixture(scope="module")
def endpoint():
    """The address of an S3 server that lives as long as this module's tests."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/moto-api/", timeout=5).close()
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def control(endpoint, what, body=b""):
    """Tells the server itself something: what it holds is forgotten, or how many requests may go unsigned."""
    plain = {"Content-Type": "text/plain"}
    request = urllib.request.Request(f"{endpoint}/moto-api/{what}", data=body, headers=plain, method="POST")
    urllib.request.urlopen(request).close()


@pytest.fixture
def bucket(endpoint, monkeypatch, root):
    """An empty bucket, and the environment in which s3:// means this server."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true", "NO_PROXY": "*",
        "AWS_CONFIG_FILE": str(root / "none"), "AWS_SHARED_CREDENTIALS_FILE": str(root / "none"),
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    control(endpoint, "reset")
    made = boto3.resource("s3").Bucket(BUCKET)
    made.create()
    return made


def put(bucket, *names):
    for name in names:
        bucket.put_object(Key=name, Body=name.encode())


def test_a_folder_of_a_bucket(root, named, bucket):
    put(bucket, "in/a.mp4", "in/day one/b&ü.png", "in/labels.csv", "in/notes.md", "in/.x.mp4", "other/c.mp4", "in/sub/")
    source = locate(named(f"s3://{BUCKET}/in"))
    assert source.files == ("a.mp4", "day one/b&ü.png") and source.ignored == 2
    assert source.labels.read_bytes() == b"in/labels.csv" and source.refused == ()
    uri = source.uri("day one/b&ü.png")
    assert uri == f"s3://{BUCKET}/in/day one/b&ü.png"
    assert paths.resolve(uri) == root / ".sightline/fetched/s3" / BUCKET / "in/day one/b&ü.png"
    assert paths.resolve(uri).read_bytes() == "in/day one/b&ü.png".encode()
    assert locate(named(f"s3://{BUCKET}/in/")) == source
    assert locate(named(f"s3://{BUCKET}")).files == ("in/a.mp4", "in/day one/b&ü.png", "other/c.mp4")
    assert locate(named(f"s3://{BUCKET}/in/a.mp4")).uri("a.mp4") == f"s3://{BUCKET}/in/a.mp4"


def test_only_what_changed_is_fetched_and_what_is_gone_is_gone(root, named, bucket, monkeypatch):
    put(bucket, "in/a.mp4", "in/b.mp4", "in/labels.csv")
    source = locate(named(f"s3://{BUCKET}/in"))
    fetched = []
    fetch = objects.Store.fetch
    monkeypatch.setattr(objects.Store, "fetch", lambda self, entry, *rest: fetched.append(entry.name) or fetch(
        self, entry, *rest))  # fmt: skip
    assert locate(named(f"s3://{BUCKET}/in")) == source and fetched == []
    bucket.put_object(Key="in/b.mp4", Body=b"IN/B.MP4")  # as long as before
    put(bucket, "in/c.mp4")
    bucket.Object("in/labels.csv").delete()
    bucket.Object("in/a.mp4").delete()
    changed = locate(named(f"s3://{BUCKET}/in"))
    assert sorted(fetched) == ["b.mp4", "c.mp4"] and changed.files == ("b.mp4", "c.mp4") and changed.labels is None
    assert paths.resolve(changed.uri("b.mp4")).read_bytes() == b"IN/B.MP4"
    assert not (changed.root / "labels.csv").exists()  # a reader of folders would take it for one that is there


def test_names_that_no_disk_takes_are_refused(root, named, bucket):
    put(bucket, "in/a.mp4", "in//b.mp4", "in/../c.mp4", "in/d.mp4", "in/d.mp4/e.mp4", "in/back\\f.mp4")
    source = locate(named(f"s3://{BUCKET}/in"))
    assert source.files == ("a.mp4", "d.mp4/e.mp4")
    assert {name: reason[:18] for name, reason in source.refused} == {
        "/b.mp4": "an absolute path", "../c.mp4": "`..` in the path l", "d.mp4": "there is a file an",
        "back\\f.mp4": "a backslash in the",
    }  # fmt: skip
    assert not (root / ".sightline/fetched/s3" / BUCKET / "c.mp4").exists()


def test_a_fetch_that_broke_off_is_gone_on_with(root, named, bucket, monkeypatch):
    monkeypatch.setattr(objects, "BLOCK", 1000)
    body = os.urandom(4500)
    bucket.put_object(Key="in/a.mp4", Body=body)
    asked, cat = [], None
    real = objects.fsspec.core.url_to_fs

    def breaks(uri, **options):
        nonlocal cat
        system, path = real(uri, **options)
        cat = system.cat_file

        def cat_file(path, start, end):
            asked.append(start)
            if len(asked) == 4:
                raise OSError("the line broke")
            return cat(path, start=start, end=end)

        system.cat_file = cat_file
        return system, path

    monkeypatch.setattr(objects.fsspec.core, "url_to_fs", breaks)
    with pytest.raises(SightlineError, match="OSError: the line broke\n  remedy: .* what was fetched is kept"):
        locate(named(f"s3://{BUCKET}/in"))
    assert not (root / ".sightline/fetched/s3" / BUCKET / "in/a.mp4").exists()
    source = locate(named(f"s3://{BUCKET}/in"))
    assert paths.resolve(source.uri("a.mp4")).read_bytes() == body
    assert asked == [0, 1000, 2000, 3000, 3000, 4000]


def test_what_changes_while_it_is_fetched_is_refused(root, named, bucket, monkeypatch):
    monkeypatch.setattr(objects, "BLOCK", 1000)
    bucket.put_object(Key="in/a.mp4", Body=bytes(3000))
    put(bucket, "in/b.mp4", "in/gone.mp4")
    append = objects.append

    def appended(copy, block, limit):
        if copy.target.name == "a.mp4":
            bucket.put_object(Key="in/a.mp4", Body=b"1" * 3000)
        bucket.Object("in/gone.mp4").delete()
        append(copy, block, limit)

    monkeypatch.setattr(objects, "append", appended)
    source = locate(named(f"s3://{BUCKET}/in"))
    assert dict(source.refused)["a.mp4"] == "it changed while it was fetched: run again"
    assert not (source.root / "a.mp4").exists() and "b.mp4" in source.files
    monkeypatch.undo()


def test_an_archive_in_a_bucket(root, named, bucket, tmp_path):
    with zipfile.ZipFile(tmp_path / "batch.zip", "w") as archive:
        archive.writestr("x/a.mp4", b"film")
    bucket.upload_file(str(tmp_path / "batch.zip"), "in/batch.zip")
    source = locate(named(f"s3://{BUCKET}/in/batch.zip"))
    assert source.uri("x/a.mp4") == f"s3://{BUCKET}/in/batch.zip!/x/a.mp4"
    assert paths.resolve(source.uri("x/a.mp4")).read_bytes() == b"film"


def test_what_is_not_there(root, named, bucket):
    with pytest.raises(SightlineError, match="s3://nobucket/x: no such bucket or folder"):
        locate(named("s3://nobucket/x"))
    with pytest.raises(SightlineError, match=f"s3://{BUCKET}/none: nothing of this name"):
        locate(named(f"s3://{BUCKET}/none"))


def test_wrong_keys_and_no_keys(root, named, bucket, endpoint, monkeypatch):
    bucket.put_object(Key="in/a.mp4", Body=b"in/a.mp4", ACL="public-read")
    control(endpoint, "reset-auth", b"0")  # from now on requests must be signed with a key that is known
    try:
        with pytest.raises(SightlineError, match="access is refused: .*\n  remedy: set AWS_ACCESS_KEY_ID"):
            locate(named(f"s3://{BUCKET}/in"))
    finally:
        control(endpoint, "reset-auth", b"Infinity")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert locate(named(f"s3://{BUCKET}/in")).files == ("a.mp4",)  # unsigned, as a public bucket is read


def test_no_server(root, named, monkeypatch, bucket):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(SightlineError, match="Could not connect|EndpointConnectionError"):
        locate(named(f"s3://{BUCKET}/in"))
