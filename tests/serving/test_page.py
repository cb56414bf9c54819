"""The service's page in a real browser: a picture tried there is shown with the boxes that were found in it."""

import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.deployment.detecting import overlap, picture
from tests.evaluation.test_browser import CHROMIUM, browser
from tests.serving.test_detector import PAIR, ask, png, sides

SHOWN = """(() => [...document.querySelectorAll("figure")].map(figure => {
  const image = figure.querySelector("img"), frame = image.getBoundingClientRect();
  const scale = frame.width / image.naturalWidth;
  return { said: figure.querySelector("figcaption").textContent, width: image.naturalWidth,
           boxes: [...figure.querySelectorAll(".box")].map(one => {
             const box = one.getBoundingClientRect();
             return { said: one.textContent, x: (box.x - frame.x) / scale, y: (box.y - frame.y) / scale,
                      w: box.width / scale, h: box.height / scale }; }) }; }))()"""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH: the page is not opened in a browser")


def tried(page, files: list[Path]) -> list[dict]:
    """The pictures that the page shows once these files were chosen and sent."""
    root = page.call("DOM.getDocument")["root"]["nodeId"]
    chooser = page.call("DOM.querySelector", nodeId=root, selector="input[type=file]")["nodeId"]
    page.call("DOM.setFileInputFiles", nodeId=chooser, files=[str(file) for file in files])
    page.evaluate("document.querySelector('form button').click()")
    return waited(page, lambda shown: len(shown) == len(files))


def waited(page, ready, seconds: float = 15) -> list[dict]:
    """What the page shows as soon as `ready`."""
    end = time.monotonic() + seconds
    while not ready(shown := page.evaluate(SHOWN)):
        assert time.monotonic() < end, (shown, page.evaluate("document.getElementById('answer').textContent"))
        time.sleep(0.05)
    return shown


def test_boxes_are_drawn_over_the_picture_that_was_tried(detector, tmp_path):
    files = []
    for name, content in (("two.png", png(picture(PAIR, 8)[0])), ("none.png", png(picture(5003, 2)[0]))):
        files.append(tmp_path / name)
        files[-1].write_bytes(content)
    wanted = ask(detector, *(file.read_bytes() for file in files)).json()["results"]
    with browser(tmp_path / "profile") as page:
        page.call("Page.navigate", url=detector.url)
        while page.evaluate("document.readyState + location.protocol") != "completehttp:":
            time.sleep(0.05)
        assert "from a score of 0.400 on" in page.evaluate("document.body.textContent")
        shown = tried(page, files)
        assert [one["width"] for one in shown] == [768, 192]
        for one, result in zip(shown, wanted, strict=True):
            assert result["prediction"] in one["said"]
            assert [box["said"] for box in one["boxes"]] == [f"{b['class']} {b['score']:.2f}" for b in result["boxes"]]
            for box, given in zip(one["boxes"], result["boxes"], strict=True):
                assert overlap(sides(box), sides(given)) > 0.97
        assert len(shown[0]["boxes"]) == 2
        # fewer of them are asked for
        page.evaluate("document.getElementById('least').value = '1'")
        page.evaluate("document.querySelector('form button').click()")
        waited(page, lambda shown: [len(one["boxes"]) for one in shown] == [0, 0])


def test_a_classifiers_page_shows_the_picture_and_asks_for_no_score(service, tmp_path):
    file = tmp_path / "some.png"
    cv2.imwrite(str(file), np.full((40, 60, 3), 90, np.uint8))
    with browser(tmp_path / "profile") as page:
        page.call("Page.navigate", url=service.url)
        while page.evaluate("document.readyState + location.protocol") != "completehttp:":
            time.sleep(0.05)
        assert page.evaluate("document.getElementById('least') === null")
        (shown,) = tried(page, [file])
        assert shown["boxes"] == [] and shown["said"].startswith("some.png: ")


def test_the_description_is_a_page_that_asks_no_other_server(service, tmp_path):
    with browser(tmp_path / "profile") as page:
        page.call("Page.navigate", url=f"{service.url}/docs")
        end = time.monotonic() + 30
        while "Score pictures" not in page.evaluate("document.body ? document.body.textContent : ''"):
            assert time.monotonic() < end
            time.sleep(0.1)
        asked = page.evaluate("performance.getEntriesByType('resource').map(one => one.name)")
    assert asked and all(one.startswith(service.url) for one in asked), asked
