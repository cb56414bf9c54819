"""Archives: what a plain one gives, and that evil ones get nothing out of their folder and nothing of the disk."""

import io
import os
import random
import stat
import struct
import tarfile
import zipfile
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.core import paths
from components.core.errors import SightlineError
from components.core.files import file_sha256
from components.ingest.sources import locate
from components.ingest.sources.archive import extract
from components.ingest.sources.members import Limits
from components.ingest.sources.source import checked_name
from tests.footage import contents

PLAIN = {"a.mp4": b"film" * 50, "night/b.PNG": b"picture", "night/labels.csv": b"image,label\n", "notes.md": b"hello",
         "inner.zip": b"PK", ".DS_Store": b"x", "__MACOSX/a.mp4": b"x"}  # fmt: skip
KINDS = ["zip", "tar", "tar.gz", "tgz", "tar.xz", "tar.bz2", "ZIP"]


def pack(path, members):
    """An archive of these members: bytes, or a ZipInfo or TarInfo with them."""
    if path.suffix.lower() == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members:
                archive.writestr(name, content)
        return path
    mode = {"gz": "gz", "tgz": "gz", "xz": "xz", "bz2": "bz2"}.get(path.name.rpartition(".")[2], "")
    with tarfile.open(path, f"w:{mode}") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name) if isinstance(name, str) else name
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def tar_member(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


def zip_member(name, mode, content=b""):
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info, content


@pytest.mark.parametrize("kind", KINDS)
def test_a_plain_archive(root, named, kind):
    pack(root / f"batch.{kind}", PLAIN.items())
    source = locate(named(f"batch.{kind}"))
    assert source.files == ("a.mp4", "night/b.PNG") and source.refused == ()
    assert source.uri("night/b.PNG") == f"batch.{kind}!/night/b.PNG"
    assert paths.resolve(source.uri("night/b.PNG")).read_bytes() == b"picture"
    assert paths.resolve(source.uri("a.mp4")) == source.root / "a.mp4"
    # labels.csv counts too, as in a folder
    assert source.ignored == 3 and not (source.root / "notes.md").exists() and not (source.root / "inner.zip").exists()
    assert locate(named(f"batch.{kind}", labels="night/labels.csv")).labels.read_bytes() == b"image,label\n"


def test_it_is_extracted_once_and_again_when_it_changed(root, named, monkeypatch):
    path = pack(root / "batch.zip", PLAIN.items())
    source = locate(named("batch.zip"))
    made = os.stat(source.root / "a.mp4").st_ino
    monkeypatch.setattr("components.ingest.sources.archive.extract", None)  # it would have to be called
    assert locate(named("batch.zip")) == source
    os.utime(path)
    assert locate(named("batch.zip")) == source and os.stat(source.root / "a.mp4").st_ino == made
    (root / "twin.zip").write_bytes(path.read_bytes())
    twin = locate(named("twin.zip"))
    assert twin.uri("a.mp4") == "twin.zip!/a.mp4" and os.stat(twin.root / "a.mp4").st_ino == made
    monkeypatch.undo()
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(root))
    pack(path, [("c.mp4", b"new")])
    changed = locate(named("batch.zip"))
    assert changed.files == ("c.mp4",) and paths.resolve(changed.uri("c.mp4")).read_bytes() == b"new"
    assert (twin.root / "a.mp4").exists()


def test_outside_of_the_workspace_a_uri_is_what_was_given(root, named, tmp_path):
    pack(tmp_path / "far.tar", PLAIN.items())
    source = locate(named("../far.tar"))
    assert source.uri("a.mp4") == "../far.tar!/a.mp4" and paths.resolve(source.uri("a.mp4")).exists()


EVIL_NAMES = {
    "/etc/cron.mp4": "an absolute path", "../up.mp4": "`..` in the path", "a/../../up.mp4": "`..` in the path",
    "C:/win.mp4": "a drive letter", "..\\up.mp4": "a backslash", "\\\\host\\up.mp4": "an absolute path",
    "a\nb.mp4": "a control character", "x" * 300 + ".mp4": "longer than 255 bytes", "../notes.md": "`..` in the path",
    "a/" * 100 + "deep.mp4": "a path of more than 64 parts",
}  # fmt: skip


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
@pytest.mark.parametrize("name", EVIL_NAMES)
def test_a_name_that_leads_out_refuses_the_archive(root, named, tmp_path, kind, name):
    pack(root / f"evil.{kind}", [*PLAIN.items(), (name, b"evil")])
    before = contents(tmp_path)
    with pytest.raises(SightlineError) as error:
        locate(named(f"evil.{kind}"))
    assert EVIL_NAMES[name] in str(error.value) and repr(name) in str(error.value) and error.value.remedy
    after = {path for path in contents(tmp_path) if not path.endswith((".lock", "archive.json"))}
    assert after == set(before)


REG, LNK = stat.S_IFREG | 0o644, stat.S_IFLNK | 0o777


@pytest.mark.parametrize(
    ("kind", "member", "words"),
    [
        ("tar", tar_member("a/l.mp4", tarfile.SYMTYPE, "../../../etc/passwd"), "leads out of the archive"),
        ("tar", tar_member("l.mp4", tarfile.SYMTYPE, "/etc/passwd"), "leads out of the archive"),
        ("tar", tar_member("d", tarfile.SYMTYPE, ".."), "leads out of the archive"),
        ("tar", tar_member("l.mp4", tarfile.LNKTYPE, "/etc/passwd"), "leads out of the archive"),
        ("tar", tar_member("a/l.mp4", tarfile.LNKTYPE, "../x"), "leads out of the archive"),
        ("tar", tar_member("p.mp4", tarfile.FIFOTYPE), "a device or a pipe"),
        ("tar", tar_member("p.mp4", tarfile.CHRTYPE), "a device or a pipe"),
        ("tar", tar_member("p.mp4", tarfile.BLKTYPE), "a device or a pipe"),
        ("zip", zip_member("a/l.mp4", LNK, b"../../x"), "leads out of the archive"),
        ("zip", zip_member("l.mp4", LNK, b"/etc/passwd"), "leads out of the archive"),
        ("zip", zip_member("p.mp4", stat.S_IFIFO | 0o644), "a device or a pipe"),
    ],
)
def test_links_outwards_and_devices_refuse_the_archive(root, named, kind, member, words):
    pack(root / f"evil.{kind}", [*PLAIN.items(), member])
    with pytest.raises(SightlineError, match=words) as error:
        locate(named(f"evil.{kind}"))
    assert repr(getattr(member[0], "name", None) or member[0].filename) in str(error.value)


def test_links_inside_become_files_and_never_a_way_out(root, named):
    pack(root / "linked.tar", [
        ("a/x.mp4", b"film"), tar_member("hard.mp4", tarfile.LNKTYPE, "a/x.mp4"),
        tar_member("a/soft.mp4", tarfile.SYMTYPE, "./x.mp4"),
        tar_member("a/chain.mp4", tarfile.SYMTYPE, "../a/soft.mp4"),
        tar_member("loop.mp4", tarfile.SYMTYPE, "loop.mp4"), tar_member("none.mp4", tarfile.SYMTYPE, "a/none"),
        # A folder that is a link to a folder inside, and a member written through it.
        tar_member("dir", tarfile.SYMTYPE, "a"), ("dir/y.mp4", b"through"),
    ])  # fmt: skip
    source = locate(named("linked.tar"))
    assert source.files == ("a/chain.mp4", "a/soft.mp4", "a/x.mp4", "dir/y.mp4", "hard.mp4")
    assert (source.root / "a" / "chain.mp4").read_bytes() == b"film" and not (source.root / "a" / "y.mp4").exists()
    assert [name for name, _ in source.refused] == ["loop.mp4", "none.mp4"]


def test_names_that_clash_are_refused_one_by_one(root, named):
    with pytest.warns(UserWarning, match="Duplicate"):
        pack(root / "odd.zip", [("a.mp4", b"1"), ("a.mp4", b"2"), ("b.mp4/c.mp4", b"3"), ("b.mp4", b"4"),
                                ("./d//e.mp4", b"5")])  # fmt: skip
    source = locate(named("odd.zip"))
    assert source.files == ("a.mp4", "b.mp4/c.mp4", "d/e.mp4") and (source.root / "a.mp4").read_bytes() == b"1"
    assert dict(source.refused) == {
        "a.mp4": "a second member with this name", "b.mp4": "the archive has a file and a folder of this name",
    }  # fmt: skip


def test_a_member_with_a_wrong_checksum_is_refused(root, named):
    path = pack(root / "worn.zip", [("a.mp4", b"good"), ("b.mp4", b"bad" * 100)])
    content = bytearray(path.read_bytes())
    for at in (content.index(b"PK\1\2", content.index(b"PK\1\2") + 4) + 16,):  # the checksum in the directory
        content[at] ^= 1
    path.write_bytes(content)
    source = locate(named("worn.zip"))
    assert source.files == ("a.mp4",) and source.refused[0][0] == "b.mp4" and "CRC" in source.refused[0][1]
    assert not (source.root / "b.mp4").exists()


def test_an_encrypted_zip_is_refused_with_the_remedy(root, named):
    path = pack(root / "secret.zip", [("a.mp4", b"x" * 40)])
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\3\4") + 6] |= 1
    content[content.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(SightlineError, match="'a.mp4' is encrypted\n  remedy: .* without a password"):
        locate(named("secret.zip"))


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.xz", "tar.bz2"])
def test_an_archive_cut_short_leaves_nothing(root, named, kind):
    noise = random.Random(0).randbytes
    path = pack(root / f"cut.{kind}", [("a.mp4", noise(30_000)), ("b.mp4", noise(30_000)), ("c.mp4", noise(30_000))])
    path.write_bytes(path.read_bytes()[:50_000])
    with pytest.raises(SightlineError, match="copy it again"):
        locate(named(f"cut.{kind}"))
    assert not list((root / ".sightline").rglob("*.mp4"))


def test_a_tar_with_a_damaged_header_or_checksum_is_not_taken_for_a_shorter_one(root, named):
    path = pack(root / "worn.tar", [("a.mp4", b"x" * 512), ("b.mp4", b"y" * 512)])
    content = bytearray(path.read_bytes())
    content[1024 + 100] ^= 1
    path.write_bytes(content)
    with pytest.raises(SightlineError, match="a damaged header after member 'a.mp4'"):
        locate(named("worn.tar"))
    path = pack(root / "worn.tar.gz", [("a.mp4", b"x")])
    content = bytearray(path.read_bytes())
    content[-6] ^= 1
    path.write_bytes(content)
    with pytest.raises(SightlineError, match="CRC"):
        locate(named("worn.tar.gz"))


def test_not_an_archive(root, named):
    for name in ("a.zip", "a.tar", "a.tar.gz", "a.tar.xz"):
        (root / name).write_bytes(b"nothing of the kind" * 100)
        with pytest.raises(SightlineError, match="cannot be read as an archive"):
            locate(named(name))
        (root / name).write_bytes(b"")
        with pytest.raises(SightlineError, match="cannot be read as an archive"):
            locate(named(name))


def small(path, **limits):
    return Limits(**{"packed": path.stat().st_size, "total": 1 << 40, "allowance": 1 << 20} | limits)


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.xz", "tar.bz2"])
@pytest.mark.parametrize("name", ["bomb.mp4", "bomb.bin"])
def test_a_bomb_goes_off_neither_as_footage_nor_while_it_is_skipped(tmp_path, kind, name):
    path = pack(tmp_path / f"bomb.{kind}", [("a.mp4", b"x"), (name, bytes(8 << 20)), ("z.mp4", b"x")])
    if (kind, name) == ("zip", "bomb.bin"):  # what is not footage is not unpacked from a zip at all
        extract(path, tmp_path / "out", small(path))
        return
    with pytest.raises(SightlineError, match=f"a decompression bomb: .*'{name}'"):
        extract(path, tmp_path / "out", small(path))
    assert not (tmp_path / "out").exists() and len(list(tmp_path.iterdir())) == 1


def test_a_zip_that_lies_about_its_sizes(tmp_path):
    """The headers say 10 bytes; the stream holds 8 MB."""
    packed = zlib.compressobj(9, zlib.DEFLATED, -15)
    stream = packed.compress(bytes(8 << 20)) + packed.flush()
    head = struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 33, zlib.crc32(bytes(10)), len(stream), 10, 5, 0)
    local = b"PK\3\4" + head + b"a.mp4" + stream
    central = b"PK\1\2" + struct.pack("<H", 20) + head + struct.pack("<HHHII", 0, 0, 0, REG << 16, 0) + b"a.mp4"
    end = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local), 0)
    path = tmp_path / "lie.zip"
    path.write_bytes(local + central + end)
    with zipfile.ZipFile(path) as archive:
        assert archive.infolist()[0].file_size == 10
    extract(path, tmp_path / "out", small(path))
    assert (tmp_path / "out" / "a.mp4").stat().st_size == 10  # as much as was announced, and no more


def test_limits_on_bytes_members_headers_and_sparse_files(tmp_path):
    path = pack(tmp_path / "many.zip", [(f"{number}.mp4", b"x") for number in range(20)])
    with pytest.raises(SightlineError, match="more than 19 members"):
        extract(path, tmp_path / "out", small(path, members=19))
    with pytest.raises(SightlineError, match="too large for the disk, at '5.mp4'"):
        extract(path, tmp_path / "out", small(path, total=5))
    path = tmp_path / "header.tar"
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 64 << 20
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(10240))
    with pytest.raises(SightlineError, match="a header of 67108864 bytes"):
        extract(path, tmp_path / "out", small(path))
    info = tarfile.TarInfo("a.mp4")
    info.type, info.size = tarfile.GNUTYPE_SPARSE, 0
    head = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    head[386:410] = b"00000000000\0" * 2
    head[483:495] = b"77777777777\0"
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    path.write_bytes(bytes(head) + bytes(10240))
    with pytest.raises(SightlineError, match="'a.mp4' is a sparse file"):
        extract(path, tmp_path / "out", small(path))
    assert not (tmp_path / "out").exists()


def test_a_kill_leaves_nothing_that_passes_for_whole(root, named, monkeypatch):
    path = pack(root / "batch.zip", PLAIN.items())
    folder = root / ".sightline" / "fetched" / "extracted" / file_sha256(path)
    folder.mkdir(parents=True)
    (folder / "a.mp4").write_bytes(b"half")  # without its mark
    assert paths.resolve(locate(named("batch.zip")).uri("a.mp4")).read_bytes() == PLAIN["a.mp4"]


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.text(alphabet="ab./\\:C\0\n é", max_size=12))
def test_a_checked_name_stays_below_its_folder(name):
    try:
        checked = checked_name(name)
    except ValueError as error:
        assert str(error)
        return
    joined = os.path.normpath(os.path.join("/base/folder", checked))
    assert joined.startswith("/base/folder/") and joined == f"/base/folder/{checked}"
