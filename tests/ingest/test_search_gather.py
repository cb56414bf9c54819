"""A search from its queries to the folder of gathered pictures: what is taken, refused, kept, and asked only once."""

import csv
import json
import os

import pytest

from components.core import paths
from components.core.errors import SightlineError, TransientError, UsageError
from components.core.recipe import parse_recipe
from components.ingest.labels import read_labels
from components.ingest.search import gather, net, publish, robots, turns
from components.ingest.search.queries import queries_of, random_words
from components.ingest.search.words import WORDS
from components.ingest.sources import locate
from tests.footage import write_picture
from tests.ingest.engines import jpeg, serve_engine

FIELDS = {"items": "data.photos", "url": "links.big", "author": "by.name", "licence": "rights"}
CLASSES = ["cat", "other", "more"]


@pytest.fixture
def engine(monkeypatch):
    """The engine; what fails is tried again soon."""
    monkeypatch.setattr(net, "BACKOFF_S", 0.01)
    monkeypatch.setattr(net, "LEFT_ALONE_S", 0.2)
    monkeypatch.setattr(robots, "LEFT_ALONE_S", 0.0)
    monkeypatch.setenv("NO_PROXY", "*")
    net._session.cache_clear()
    with serve_engine() as served:
        yield served


@pytest.fixture
def started(monkeypatch):
    """Workers in this process instead of Spark's, one item after the other; the list of (kind of work, items)."""
    calls = []

    class Session:
        def __enter__(self):
            calls.append(("spark", []))
            return self

        def __exit__(self, *error):
            return False

    def here(session, items, work, *rest):
        if items:
            calls.append((work.__name__, [json.loads(json.dumps(item)) for item in items]))
        return [work(item) for item in items]

    monkeypatch.setattr(gather, "spark_session", lambda name: Session())
    monkeypatch.setattr(gather, "map_items", here)
    return calls


def recipe(engine=None, provider="json", ranked="cat", limits=None, **search):
    """A recipe that searches; quickly, and with one try, unless `search` says otherwise."""
    if engine is not None:
        ask = "?q={query}&page={page}&page_size={per_page}" if provider == "json" else ""
        search = {"endpoint": f"{engine.url}/{provider}{ask}", "rate": 500, "retries": 0, "timeout_s": 5} | search
    search |= {"fields": FIELDS} if provider == "json" else {}
    search = {"provider": provider, "positive": ["snow cat"], "negative": ["dog"]} | search
    body = {"task": {"classes": CLASSES, "positive": ranked}, "source": "search", "training": {"lr": 1, "penalty": 1}}
    return parse_recipe("made", body | {"ingest": {"search": search} | ({"limits": limits} if limits else {})})


def table(source):
    with open(source.labels, newline="") as file:
        return list(csv.DictReader(file))


def facts(folder):
    """Of every file below a folder what changes when it is written or linked anew."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".failed.json")
    return {path: (path.stat().st_ino, path.stat().st_ctime_ns, path.stat().st_mtime_ns) for path in files}


def taken(source):
    """(the picture's own name, label) of what was taken."""
    return sorted((row["image"].rpartition("/")[2], row["label"]) for row in table(source))


@pytest.mark.parametrize("provider", ["openverse", "wikimedia", "json"])
def test_from_queries_to_labelled_pictures(root, engine, started, provider):
    engine.add("snow cat", *range(5))
    engine.add("dog", *range(10, 13))
    source = locate(recipe(engine, provider, per_page=2))
    assert taken(source) == sorted(
        [(f"{n}.jpg", "cat") for n in range(5)] + [(f"{n}.jpg", "other") for n in (10, 11, 12)]
    )
    rows = table(source)
    assert [row["image"] for row in rows] == sorted(source.files) and source.label_source == "search"
    row = next(row for row in rows if row["image"].endswith("/3.jpg"))
    assert row["query"] == "snow cat" and row["provider"] == provider and row["url"] == f"{engine.url}/pictures/3.jpg"
    assert (row["width"], row["height"]) == ("96", "80")
    told = {"openverse": ("by-sa 2.0", 'Ann, "A"', "a title"), "wikimedia": ("CC BY 4.0", "B & C", "3.jpg")}
    assert (row["licence"], row["author"], row["title"]) == told.get(provider, ("cc0", "Dee", ""))
    assert (source.root / row["image"]).read_bytes() == jpeg(3)
    assert (
        source.root.is_relative_to(root / ".sightline" / "gathered")
        and paths.resolve(source.uri(row["image"])).is_file()
    )
    found = read_labels(source, tuple(CLASSES))
    assert sorted(label.word for label in found.labels) == ["cat"] * 5 + ["other"] * 3 and not found.refused
    assert all(agent.startswith("sightline/") for agent in engine.agents)


def test_a_second_run_asks_nothing_and_a_further_query_only_what_is_new(root, engine, started):
    engine.add("snow cat", *range(3))
    engine.add("dog", 10, 11)
    engine.add("fox", 11, 12)
    first = locate(recipe(engine))
    before = facts(first.root)
    count = len(engine.asked)
    started.clear()
    assert locate(recipe(engine)) == first and len(engine.asked) == count and not started
    assert facts(first.root) == before
    more = locate(recipe(engine, negative=["dog", "fox"]))
    assert set(engine.paths()[count:]) == {"/json?fox", "/pictures/12.jpg"} and more.root != first.root
    assert taken(more) == sorted([*taken(first), ("12.jpg", "other")])
    assert (first.root / first.files[0]).samefile(more.root / first.files[0])


def test_wanted_numbers_pages_and_a_server_that_repeats_itself(root, engine, started):
    engine.add("snow cat", *range(7))
    engine.add("dog", 10, 11, 12)
    source = locate(recipe(engine, pictures=5, negative_pictures=2, per_page=3))
    assert [name for name, label in taken(source) if label == "cat"] == [f"{n}.jpg" for n in range(5)]
    assert engine.paths().count("/json?snow cat") == 2 and engine.paths().count("/json?dog") == 1
    stuck = f"{engine.url}/json?q={{query}}&page=1&page_size=3&x={{page}}"
    assert len([1 for _, label in taken(locate(recipe(engine, endpoint=stuck))) if label == "cat"]) == 3


def test_copies_and_near_duplicates_within_and_across_classes(root, engine, started, capsys):
    engine.add("snow cat", 0, 1, 2, 3)
    engine.add("big cat", 0, 4)
    engine.add("dog", 10, 3)
    files = engine.files
    files["/copy.jpg"], files["/near.jpg"] = jpeg(0), jpeg(1, quality=60)  # of 0 and 1, in the class
    files["/pictures/11.jpg"] = jpeg(2, quality=70)  # of 2, across the classes
    files["/twin.jpg"] = jpeg(4)
    engine.found["snow cat"] += ["/copy.jpg", "/near.jpg"]
    engine.found["dog"] += ["/pictures/11.jpg", "/twin.jpg"]
    source = locate(recipe(engine, positive=["snow cat", "big cat"]))
    assert taken(source) == [("0.jpg", "cat"), ("1.jpg", "cat"), ("10.jpg", "other")]
    reasons = {url.removeprefix(engine.url): reason for url, reason in source.refused}
    assert reasons["/copy.jpg"] == f"the same bytes as {engine.url}/pictures/0.jpg"
    assert reasons["/near.jpg"] == f"nearly the same as {engine.url}/pictures/1.jpg"
    both = {"/pictures/2.jpg", "/pictures/11.jpg", "/pictures/3.jpg", "/pictures/4.jpg", "/twin.jpg"}
    assert set(reasons) == both | {"/copy.jpg", "/near.jpg"}
    assert all("'snow cat' (cat) and 'dog' (other)" in reasons[f"/pictures/{n}.jpg"] for n in (2, 3))
    said = capsys.readouterr().err
    assert "3 queries found 10 pictures; 3 taken (2 cat, 1 other), 1 copies, 1 near-duplicates, 5 ambiguous" in said
    loose = locate(recipe(engine, positive=["snow cat", "big cat"], near=-1))
    assert ("near.jpg", "cat") in taken(loose) and ("2.jpg", "cat") in taken(loose)
    assert ("3.jpg", "cat") not in taken(loose) and ("copy.jpg", "cat") not in taken(loose)


def test_what_is_no_picture_is_refused_with_the_reason_and_not_asked_for_again(root, engine, started):
    engine.add("snow cat", 0)
    engine.add("dog", 10)
    whole = jpeg(20, (900, 700), 100)
    small = jpeg(21, (96, 40))
    engine.files |= {
        "/html.jpg": (b"<html>No hotlinks</html>", "text/html"), "/cut.jpg": whole[: len(whole) // 2],
        "/empty.jpg": b"", "/big.jpg": whole, "/small.jpg": small, "/odd": (jpeg(22), "text/plain"),
        "/film.mp4": jpeg(23),
    }  # fmt: skip
    names = [
        "/html.jpg",
        "/cut.jpg",
        "/empty.jpg",
        "/big.jpg",
        "/small.jpg",
        "/odd",
        "/film.mp4",
        "/gone.jpg",
        "/tea.jpg",
    ]
    engine.found["dog"] += names
    engine.faults["/tea.jpg"] = (418,)
    mb = (len(whole) - 1) / 1e6
    source = locate(recipe(engine, max_mb=mb))
    assert taken(source) == [("0.jpg", "cat"), ("10.jpg", "other"), ("film.mp4.jpg", "other"), ("odd.jpg", "other")]
    reasons = {url.removeprefix(engine.url): reason for url, reason in source.refused}
    assert reasons["/html.jpg"] == "cannot be decoded as a picture; it is sent as text/html"
    assert "truncated" in reasons["/cut.jpg"] and reasons["/empty.jpg"] == "the file is empty"
    assert (
        reasons["/big.jpg"].endswith(f"MB are more than {mb:g} MB")
        and reasons["/gone.jpg"] == "the server answers 404 Not Found"
    )
    assert reasons["/small.jpg"].startswith("96x40: a side of fewer than 64") and "418" in reasons["/tea.jpg"]
    count = len(engine.asked)
    assert locate(recipe(engine, max_mb=mb)) == source and len(engine.asked) == count
    wider = locate(recipe(engine, max_mb=20, min_side=40))
    assert engine.paths()[count:] == ["/big.jpg"] and {("big.jpg", "other"), ("small.jpg", "other")} <= set(
        taken(wider)
    )


def test_limits_of_decoding_hold_until_they_are_raised(root, engine, started):
    engine.add("snow cat", 0)
    engine.add("dog", 10)
    engine.files["/pictures/10.jpg"] = jpeg(10, (200, 200))
    source = locate(recipe(engine, limits={"pixels": 10_000}))
    assert taken(source) == [("0.jpg", "cat")] and "40000 pixels are more than 10000" in source.refused[0][1]
    assert taken(locate(recipe(engine))) == [("0.jpg", "cat"), ("10.jpg", "other")]


def test_faults_that_pass_are_borne(root, engine, started):
    engine.add("snow cat", *range(4))
    engine.add("dog", 10)
    engine.faults |= {
        "/json?snow cat": [500, b"<html>busy</html>"], "/pictures/0.jpg": [503, "reset"], "/pictures/1.jpg": ["silent"],
        "/pictures/2.jpg": ["cut"], "/pictures/3.jpg": [(429, {"Retry-After": "1"})],
    }  # fmt: skip
    source = locate(recipe(engine, retries=2, timeout_s=2))
    # An answer that is no JSON is not tried again at once, but by the next run.
    assert taken(source) == [("10.jpg", "other")]
    assert source.refused[0][0] == "search://json/snow%20cat?page=1" and "no JSON" in source.refused[0][1]
    source = locate(recipe(engine, retries=2, timeout_s=2))
    assert taken(source) == [
        (f"{n}.jpg", label) for n, label in [(0, "cat"), (1, "cat"), (10, "other"), (2, "cat"), (3, "cat")]
    ]
    first, second = (at for at, path in engine.asked if path == "/pictures/3.jpg")
    assert second - first > 0.95


def test_what_fails_is_asked_for_in_a_few_runs_and_no_more(root, engine, started):
    engine.add("snow cat", 0, 1)
    engine.add("dog", 10)
    engine.faults["/pictures/1.jpg"] = (500,)
    for run in range(1, 6):
        source = locate(recipe(engine, retries=1))
        assert engine.paths().count("/pictures/1.jpg") == 2 * min(run, 3)
        ((url, reason),) = source.refused
        assert url.endswith("/1.jpg") and reason.startswith("the server answers 500")
        assert ("next run" in reason) == (run < 3)


def test_nobody_answers(root, engine, started):
    engine.faults |= {"/json?snow cat": (500,), "/json?dog": (500,)}
    for _ in range(4):
        with pytest.raises(TransientError, match="none of 2 queries was answered"):
            locate(recipe(engine))
    assert len(engine.asked) == 8
    engine.faults |= {"/json?snow cat": (401,), "/json?dog": (401,)}
    with pytest.raises(SightlineError, match="401") as refused:
        locate(recipe(engine))
    assert refused.value.exit_code == 1
    engine.faults.clear()
    with pytest.raises(SightlineError, match="no video or picture in it"):
        locate(recipe(engine))


def test_robots_txt(root, engine, started):
    engine.add("snow cat", 0, 1)
    engine.add("dog", 10)
    engine.files["/robots.txt"] = b"User-agent: *\nDisallow: /pictures/1\n"
    source = locate(recipe(engine))
    assert taken(source) == [("0.jpg", "cat")] and engine.paths().count("/robots.txt") == 1
    assert {reason for _, reason in source.refused} == {f"{engine.url}/robots.txt does not allow it"}
    count = len(engine.asked)
    assert locate(recipe(engine)) == source and len(engine.asked) == count
    assert len(taken(locate(recipe(engine, robots=False)))) == 3


def test_a_robots_txt_that_cannot_be_had(root, engine, started):
    engine.add("snow cat", 0)
    engine.add("dog", 10)
    engine.faults["/robots.txt"] = [503, 503]
    with pytest.raises(SightlineError, match=r"no video or picture .*its robots.txt cannot be had now"):
        locate(recipe(engine))
    assert len(taken(locate(recipe(engine)))) == 2  # now it answers 404: all is allowed


def test_licences(root, engine, started):
    engine.add("snow cat", 0)
    engine.add("dog", 10)
    assert len(taken(locate(recipe(engine, "openverse", licences=["BY-SA"])))) == 2
    with pytest.raises(SightlineError, match="licence 'by-sa 2.0' is not one of"):
        locate(recipe(engine, "openverse", licences=["by", "cc0"]))


def test_a_folder_as_provider(root, started):
    for number in range(3):
        write_picture(root / "pool" / "snow cat" / f"{number}.png", number, (80, 80))
        write_picture(root / "pool" / "dog" / f"{number + 10}.jpg", number + 10, (80, 80))
    write_picture(root / "pool" / "dog" / "tiny.png", 30, (20, 20))
    (root / "pool" / "dog" / "bad.png").write_bytes(b"no picture")
    made = recipe(provider="folder", endpoint="pool", per_page=2, random=2)
    source = locate(made)
    assert taken(source) == sorted(
        [(f"{n}.png", "cat") for n in range(3)] + [(f"{n}.jpg", "other") for n in (10, 11, 12)]
    )
    assert "search://folder/pool/dog/bad.png" in dict(source.refused) and len(source.refused) == 4
    assert {row["url"] for row in table(source)} == {f"pool/snow cat/{n}.png" for n in range(3)} | {
        f"pool/dog/{n}.jpg" for n in (10, 11, 12)
    }
    started.clear()
    assert locate(made) == source and not started
    os.remove(root / "pool" / "dog" / "11.jpg")
    write_picture(root / "pool" / "dog" / "10.jpg", 40, (80, 80))
    again = locate(made)
    assert [len(items) for kind, items in started if kind == "look"] == [1] and len(again.files) == 5
    assert sorted(path.name for path in again.root.rglob("*.jpg")) == ["10.jpg", "12.jpg"]
    with pytest.raises(SightlineError, match=r"no folder 'dog'.*none of 2 queries"):
        locate(recipe(provider="folder", endpoint="."))


@pytest.mark.parametrize(
    ("search", "words"),
    [
        ({"positive": []}, "ingest.search.positive: no query"),
        ({"negative": []}, "no query for what is not of the positive class"),
        ({"negative": ["Snow  Cat"]}, "'snow cat' is a positive and a negative query"),
        ({"negative": [" "]}, "ingest.search.negative: an empty query"),
        ({"random": 5000}, "ingest.search.random: 5000"),
    ],
)
def test_recipes_that_cannot_be_searched(root, search, words):
    with pytest.raises(UsageError, match=words) as refused:
        locate(recipe(**search))
    assert refused.value.remedy and refused.value.exit_code == 2


def test_without_a_positive_class(root):
    with pytest.raises(UsageError, match="task.positive"):
        locate(recipe(ranked=None, provider="folder"))


def test_random_words_stay_when_more_are_drawn():
    few, many = random_words(5, 1, ("snow leopard",), ()), random_words(40, 1, ("snow leopard",), ())
    assert many[:5] == few and len(set(many)) == 40 and few != random_words(5, 2, ("snow leopard",), ())
    every = random_words(len(WORDS) - 3, 1, ("a Snow of trees",), ("lake",))
    assert not {"snow", "tree", "lake"} & set(every) and len(WORDS) == len(set(WORDS)) > 300
    made = recipe(random=3)
    assert [query.label for query in queries_of(made)] == ["cat", *["other"] * 4]
    assert [query.wanted for query in queries_of(made)] == [400, 200, 10, 10, 10]


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://h/a/Snow%20cat%20(1).JPG?x=1", "Snow cat (1).JPG"),
        ("https://h/i.php?n=3", "i.php.png"),
        ("https://h/", "picture.png"),
        ("https://h/a%2Fb%5Cc.png", "b_c.png"),
        ("https://h/..%2f.png", "png.png"),
        ("https://h/%00%0a.png", "__.png"),
        ("pool/a?b#c.png", "a?b#c.png"),
        ("https://h/" + "%C3%A9" * 200 + ".webp", "é" * 72 + ".webp"),
    ],
)
def test_names_of_files(url, name):
    assert publish.safe_name(url, "png") == name


def test_hosts_take_turns_in_the_order_of_work():
    urls = ["http://a/1", "http://a/2", "http://a/3", "http://b/1", "http://c/1", "http://c/2"]
    assert gather.interleaved(urls) == [
        "http://a/1",
        "http://b/1",
        "http://c/1",
        "http://a/2",
        "http://c/2",
        "http://a/3",
    ]
    assert turns.host_name("https://H:8443/x") == "h-8443" and turns.host_name("http://[::1]/") == "__1-80"
