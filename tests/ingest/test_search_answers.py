"""Providers: what they are asked, what is read of their answers, and that no answer whatever breaks the reading."""

import json
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.core.errors import UsageError
from components.core.recipe import Search
from components.ingest.search import generic, local, openverse, wikimedia
from components.ingest.search.hits import Answer, Hit, address, dug, text
from components.ingest.search.providers import provider_of

FIELDS = {"items": "data.photos", "url": "links.0.big", "author": "by.name", "licence": "rights", "page": "seen"}
GENERIC = generic.provider("https://h/s?q={query}&p={page}&n={per_page}", FIELDS)
READERS = {"openverse": openverse.read, "wikimedia": wikimedia.read, "json": GENERIC.read}


def query_of(url):
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query, keep_blank_values=True).items()}


def test_what_is_asked():
    url = openverse.provider().request("snow leopard & co", 3, 20)
    assert url.startswith("https://api.openverse.org/v1/images/?")
    assert query_of(url) == {"q": "snow leopard & co", "page": "3", "page_size": "20"}
    asked = query_of(wikimedia.provider().request("snow leopard", 3, 20))
    assert asked["gsrsearch"] == "snow leopard filetype:bitmap" and (asked["gsroffset"], asked["gsrlimit"]) == (
        "40",
        "20",
    )
    assert (asked["generator"], asked["gsrnamespace"], asked["prop"]) == ("search", "6", "imageinfo")
    assert GENERIC.request("a/b&c", 2, 5) == "https://h/s?q=a%2Fb%26c&p=2&n=5"


def test_openverse():
    items = [
        {"url": "https://h/a.jpg#x", "foreign_landing_url": "https://h/a", "license": "by", "license_version": "2.0",
         "creator": "A\n B", "title": None, "width": 5, "height": "7"},
        {"url": "ftp://h/a.jpg"}, 7, {"url": "https://u:p@h/a.jpg"}, {"title": "x"},
    ]  # fmt: skip
    found = openverse.read(json.dumps({"results": items, "page_count": 3}).encode(), 3, 5)
    assert found.hits == (Hit("https://h/a.jpg", "https://h/a", "by 2.0", "A B", "", 5, None),) and not found.more
    assert [place for place, _ in found.refused] == [1, 2, 3, 4]
    assert "no http(s) address" in found.refused[0][1] and "user's name" in found.refused[2][1]
    assert openverse.read(json.dumps({"results": items, "page_count": 3}).encode(), 2, 5).more


def test_wikimedia_in_both_of_its_forms():
    info = {
        "url": "https://h/b.png",
        "descriptionurl": "https://h/File:b",
        "mime": "image/png",
        "width": 9,
        "height": 8,
    }
    told = {"LicenseShortName": {"value": "CC0"}, "Artist": {"value": "<b>A</b> &lt;a&gt;"}}
    pages = [
        {"title": "File:b.png", "index": 2, "imageinfo": [info | {"extmetadata": told}]},
        {"title": "File:a.png", "index": 1, "imageinfo": [info | {"url": "https://h/a.png", "extmetadata": []}]},
        {"title": "File:c.svg", "index": 3, "imageinfo": [info | {"mime": "image/svg+xml"}]},
        {"title": "File:d.png", "index": 4},
    ]
    for form in (pages, {str(n): page for n, page in enumerate(pages)}):
        body = {"batchcomplete": True, "continue": {"gsroffset": 20}, "query": {"pages": form}}
        found = wikimedia.read(json.dumps(body).encode(), 1, 20)
        assert [hit.title for hit in found.hits] == ["a.png", "b.png"] and found.more
        assert found.hits[1] == Hit("https://h/b.png", "https://h/File:b", "CC0", "A <a>", "b.png", 9, 8)
        assert [place for place, _ in found.refused] == [2, 3] and "image/svg+xml" in found.refused[0][1]
    assert wikimedia.read(b'{"batchcomplete": ""}', 1, 20) == Answer((), False)


def test_a_server_by_its_template():
    items = [{"links": [{"big": "//h/a.jpg"}], "by": {"name": "Dee"}, "rights": 3, "seen": "javascript:x"}]
    found = GENERIC.read(json.dumps({"data": {"photos": items}}).encode(), 1, 20)
    assert found == Answer((Hit("https://h/a.jpg", "", "3", "Dee"),), True)
    assert GENERIC.read(b'{"data": {"photos": []}}', 2, 20) == Answer((), False)
    plain = generic.provider("https://h/{query}", {"items": "", "url": "u"})
    assert not plain.read(b'[{"u": "https://h/a.jpg"}]', 1, 20).more


@pytest.mark.parametrize("name", sorted(READERS))
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "an empty answer"),
        (b"<!DOCTYPE html>\n<title>Busy</title>", "no JSON: it begins with '<!DOCTYPE html> <title>Busy</title>'"),
        (b"\xff\xfe\x00", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"{}", ""),
        (b'"text"', "a text where"),
        (b'{"results": {}, "query": {"pages": 1}, "data": {"photos": null}}', ""),
        (b'{"error": {"info": "slow down"}, "detail": "slow down"}', ""),
    ],
)
def test_what_is_no_answer_is_refused_with_the_reason(name, content, words):
    with pytest.raises(ValueError, match=".") as refused:
        READERS[name](content, 1, 20)
    if words and not (name == "json" and b"text" in content):
        assert words in str(refused.value)


def test_errors_of_providers_are_told():
    with pytest.raises(ValueError, match="slow down"):
        openverse.read(b'{"detail": "slow down"}', 1, 20)
    with pytest.raises(ValueError, match="too many"):
        wikimedia.read(b'{"error": {"code": "x", "info": "too many"}}', 1, 20)


KEYS = st.sampled_from(
    "results url license page_count query pages imageinfo index mime extmetadata Artist value continue gsroffset "
    "batchcomplete data photos links big title width 0".split()
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("https://h/a.jpg")
BODIES = st.recursive(LEAVES, lambda below: st.lists(below, max_size=4) | st.dictionaries(KEYS, below, max_size=5))


@given(st.sampled_from(sorted(READERS)), BODIES, st.integers(1, 3))
def test_no_answer_whatever_breaks_the_reading(name, body, page):
    content = json.dumps(body).encode()
    try:
        found = READERS[name](content, page, 2)
    except ValueError as error:
        assert str(error)
        return
    for hit in found.hits:
        for value in (hit.page, hit.licence, hit.author, hit.title):
            assert "\n" not in value and value == value.strip() and len(value.encode()) <= 4 * 500
        assert hit.width is None or hit.width > 0
        assert address(hit.url) == hit.url


@given(st.sampled_from(sorted(READERS)), st.binary(max_size=60))
def test_no_bytes_whatever_break_the_reading(name, content):
    try:
        READERS[name](content, 1, 2)
    except ValueError as error:
        assert str(error)


@pytest.mark.parametrize("url", [None, 3, "", " ", "a.jpg", "file:///etc/passwd", "http://", "http://h:99999/", "http://[x",
                                 "https://h/\ud800.jpg", "http://h/\x00", "https://h/" + "a" * 5000])  # fmt: skip
def test_what_is_no_address(url):
    with pytest.raises(ValueError, match="address"):
        address(url)


def test_values_are_dug_out_and_tidied():
    assert dug({"a": [{"b": 1}]}, "a.0.b") == 1 and dug({"a": []}, "a.0") is None and dug({"a": []}, "a.x.y") is None
    assert (
        text("a\x00\n b\ud800 ") == "a b?" and text(True) == "" and text(1.5) == "1.5" and len(text("ab " * 900)) <= 500
    )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"provider": "json"}, "endpoint: missing"),
        ({"provider": "json", "endpoint": "https://h/{query}"}, "fields: no `items`"),
        ({"provider": "json", "endpoint": "https://h/{qery}", "fields": FIELDS}, "{qery} is not known"),
        ({"provider": "json", "endpoint": "https://h/{query", "fields": FIELDS}, "endpoint: 'https://h/{query'"),
        ({"provider": "json", "endpoint": "https://h/", "fields": FIELDS}, "has no {query}"),
        ({"provider": "json", "endpoint": "ftp://h/{query}", "fields": FIELDS}, "no http(s) address"),
        ({"endpoint": "https://me:secret@h/"}, "password"),
        ({"fields": FIELDS}, "has a form of its own"),
        ({"provider": "folder"}, "endpoint: missing"),
        ({"provider": "folder", "endpoint": "nowhere"}, "'nowhere' is no folder"),
    ],
)
def test_settings_that_make_no_provider(root, settings, words):
    with pytest.raises(UsageError) as refused:
        provider_of(Search(**settings))
    assert words in refused.value.problem and refused.value.remedy and "secret" not in str(refused.value)


def test_a_folder_answers_in_slices(root, fill):
    fill(root / "pool", "leopard/b.jpg", "leopard/a/c.PNG", "leopard/notes.txt", "leopard/.x.jpg", "leopard/film.mp4")
    content = local.content("pool", "leopard")
    assert [hit.url for hit in local.read(content, 1, 1).hits] == ["pool/leopard/a/c.PNG"]
    assert local.read(content, 1, 1).more and not local.read(content, 2, 1).more and not local.read(content, 3, 1).hits
    for query in ("lion", "../pool/leopard", "/etc"):
        with pytest.raises(ValueError, match=r"no folder|leads out|absolute"):
            local.content("pool", query)
