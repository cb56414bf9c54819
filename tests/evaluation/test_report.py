"""The page for pictures and videos, for two classes and many: what is on it, and that it is well-formed."""

import json
import re
from xml.etree import ElementTree

import pytest

from components.evaluation import matrix, scores
from components.evaluation.moments import EXAMPLES, MISTAKE, PAIR, PEAK, UNSURE
from components.evaluation.report import confusion, render
from tests.evaluation.pages import made_content
from tests.evaluation.test_stage import Page

DIGITS = [str(number) for number in range(10)]


def look(content):
    """(text, tags, moments) of the rendered page."""
    text = render(content)
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1])
    assert [one["rank"] for one in data["moments"]] == list(range(1, len(content.moments) + 1))
    return text, Page(text), data


def headings(text):
    return re.findall(r"<h2>(.*?)</h2>", text.split("<dialog")[0])


def test_ten_classes_of_pictures():
    content = made_content(DIGITS, pictures=100)
    text, page, data = look(content)
    assert render(content) == text
    shown = headings(text)
    assert shown[:6] == ["Accuracy", "F1", "Precision", "Recall", "ROC AUC", "AUC of the calls"]
    assert shown[6:] == [
        "Class by class", "Slices", "Curves and calls", "Most confident mistakes", "Confused classes", "Least sure",
        "Notes",
    ]  # fmt: skip
    assert f"{content.metrics['f1_macro']:.3f}" in text and f"{content.metrics['roc_auc_binarised']:.3f}" in text
    assert (
        "score over time" not in text.lower() and not data["videos"] and 'class="strip' not in text.split("<dialog")[0]
    )
    drawings = [attributes for name, attributes in page.tags if name == "svg"]
    assert [one["class"] for one in drawings] == ["curve", "curve", "matrix"]
    assert all(one["picture"] for one in data["moments"])


def test_pictures_with_a_positive_class():
    text, _, data = look(made_content(["empty", "animal"], "animal", twins=3))
    assert headings(text)[6:] == ["Highest scores", "Most confident mistakes", "Slices", "Curves and calls", "Notes"]
    assert "3 of these 60 pictures look nearly like" in text
    assert "By site" in text and "By day and night" in text and "ridge &amp; moor" in text
    assert "All pictures here are by camera Browning" in text
    assert "labelled animal" in data["moments"][0]["caption"]


def test_videos_without_a_positive_class():
    content = made_content(["walk", "<run>", "fall"], videos=3)
    text, page, data = look(content)
    assert "Video by video" in text and "called wrongly" in text
    assert "<run>" not in text.replace("&lt;run&gt;", "") and "&lt;run&gt;" in text
    assert len(data["videos"]) == 3
    pinned = [int(link["data-moment"]) for link in page.all("a") if link.get("class") == "pin"]
    kinds = {moment.rank: moment.kind for moment in content.moments}
    assert pinned and {kinds[rank] for rank in pinned} == {MISTAKE}


def test_videos_of_three_classes_one_of_them_positive():
    text, *_ = look(made_content(["rest", "fight", "fall"], "fight", videos=3))
    shown = headings(text)
    assert shown[6:8] == ["F1, all classes", "ROC AUC, all classes"] and "Class by class" in shown
    assert "The likeliest class is called" in text


def test_missing_classes_are_named():
    text, *_ = look(made_content("abcd", labels=[0, 1, 2] * 20))
    assert "No picture here is labelled d:" in text
    assert "No picture" not in look(made_content("abcd"))[0].replace("No picture here looks nearly", "")


def test_what_is_shown_is_what_is_promised():
    content = made_content("abc")
    by_kind = {kind: [one for one in content.moments if one.kind == kind] for kind in (PEAK, MISTAKE, PAIR, UNSURE)}
    assert not by_kind[PEAK]
    assets = content.assets

    def margin(asset):
        low, high = sorted(asset.probabilities[0])[-2:]
        return high - low

    wrong = sorted((asset for asset in assets if asset.called[0] != asset.labels[0]), key=lambda one: -one.scores[0])
    assert [assets[one.asset].asset_id for one in by_kind[MISTAKE]] == [one.asset_id for one in wrong[:12]]
    unsure = sorted(assets, key=margin)
    assert [assets[one.asset].asset_id for one in by_kind[UNSURE]] == [one.asset_id for one in unsure[:12]]
    for pair in content.pairs:
        own = [
            one for one in by_kind[PAIR]
            if (assets[one.asset].labels[0], assets[one.asset].called[0]) == (pair.actual, pair.called)
        ]  # fmt: skip
        assert len(own) == min(EXAMPLES, pair.count)


def test_mistakes_of_a_video_are_apart():
    content = made_content("abc", videos=2)
    for kind in (MISTAKE, UNSURE):
        own = [(one.asset, one.seconds) for one in content.moments if one.kind == kind]
        assert len(own) > 3
        assert all(a != c or abs(b - d) >= 2.0 for i, (a, b) in enumerate(own) for c, d in own[:i])


def test_rows_of_videos_without_a_positive_class():
    content = made_content("abc", videos=3)
    rows = scores.video_rows(content.assets)
    assert [row["wrong"] for row in rows] == sorted((row["wrong"] for row in rows), reverse=True)
    assert sum(row["wrong"] for row in rows) == content.counts.sum() - content.counts.trace()
    assert rows[0]["accuracy"] == pytest.approx(1 - rows[0]["wrong"] / 80)


@pytest.mark.parametrize("classes", ["ab", DIGITS, ["a very long name of a class indeed", "b & <c>", "d"]], ids=len)
def test_the_matrix_as_a_file_is_well_formed_and_has_every_cell(classes):
    content = made_content(classes, pictures=90)
    root = ElementTree.fromstring(matrix.alone(confusion(content)))
    space = "{http://www.w3.org/2000/svg}"
    assert root.tag == f"{space}svg"
    titles = [cell.find(f"{space}title").text for cell in root.iter(f"{space}rect") if cell.get("class")]
    assert len(titles) == len(classes) ** 2
    assert f"{classes[0]} called {classes[1]}: {content.counts[0, 1]} " in titles[1]
    assert ElementTree.fromstring(confusion(content)).get("aria-label").startswith("Confusion matrix of 90 pictures")
