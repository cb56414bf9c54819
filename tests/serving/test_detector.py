"""A detector's answers, asked over HTTP of a process of its own: boxes in the pixels of the picture that was sent."""

import io
import shutil

import cv2
import httpx
import numpy as np
import onnxruntime
import pytest
from PIL import Image

from components.core.bundle import Bundle, Pointer, read_bundle, write_manifest
from components.core.errors import SightlineError
from components.core.media import fit, resize
from components.serving.load import load_model
from tests.deployment import detecting
from tests.deployment.detecting import THRESHOLD, overlap, picture
from tests.serving.conftest import publish
from tests.serving.test_service import encoded, form, raw

SEEDS = range(5000, 5020)
PAIR = 5029  # of a picture with two rectangles


def png(rgb: np.ndarray) -> bytes:
    return cv2.imencode(".png", np.ascontiguousarray(rgb[..., ::-1]))[1].tobytes()


def ask(service, *contents: bytes, least: str = "") -> httpx.Response:
    files = [("picture", (f"{number}.png", content, "image/png")) for number, content in enumerate(contents)]
    return httpx.post(f"{service.url}/v1/predict{least}", files=files, timeout=60)


def sides(box: dict) -> np.ndarray:
    return np.array([box[side] for side in "xywh"])


@pytest.mark.parametrize("scale", [1, 3, 7])
def test_boxes_lie_on_the_objects_in_pixels_of_the_picture_as_sent(detector, scale):
    """Of rectangles in pictures of other sizes than the model's, nine in ten are found, and little else."""
    truth = [picture(seed, scale) for seed in SEEDS]
    answer = ask(detector, *(png(rgb) for rgb, *_ in truth)).json()
    assert answer["model"]["recipe"] == detecting.RECIPE
    hits = wanted = found = 0
    for (rgb, boxes, kinds), result in zip(truth, answer["results"], strict=True):
        given = result["boxes"]
        assert [box["score"] for box in given] == sorted((box["score"] for box in given), reverse=True)
        for box in given:
            assert set(box) == {"class", "score", "x", "y", "w", "h"} and box["score"] >= THRESHOLD
            assert 0 <= box["x"] and box["x"] + box["w"] <= rgb.shape[1] + 1e-3
            assert 0 <= box["y"] and box["y"] + box["h"] <= rgb.shape[0] + 1e-3
        wanted, found = wanted + len(kinds), found + len(given)
        for box, kind in zip(boxes, kinds, strict=True):
            hits += any(one["class"] == kind and overlap(sides(one), box) > 0.5 for one in given)
        assert sum(result["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert result["score"] == result["probabilities"][result["prediction"]]
    assert hits >= 0.9 * wanted and found <= 1.2 * wanted


def test_an_answer_is_what_the_bundle_says(detector, detector_bundle):
    """Boxes, scores and probabilities as the manifest says they are to be had, without any of the service's code."""
    rgb, *_ = picture(PAIR, 4)
    bundle = read_bundle(detector_bundle)
    small = resize(fit(rgb, bundle.max_side), bundle.height, bundle.width)
    session = onnxruntime.InferenceSession(str(detector_bundle / "model.onnx"), providers=["CPUExecutionProvider"])
    boxes, scores, classes, probabilities = (part[0] for part in session.run(None, {"frames": small[None]}))
    (result,) = ask(detector, png(rgb), least="?min_score=0").json()["results"]
    assert list(result["probabilities"].values()) == pytest.approx(probabilities.tolist(), abs=1e-5)
    assert len(result["boxes"]) == (scores > 0).sum() > 0
    for given, box, score, kind in zip(result["boxes"], boxes, scores, classes, strict=False):
        left, top, right, bottom = box * [384, 256, 384, 256]
        assert sides(given) == pytest.approx([left, top, right - left, bottom - top], abs=0.01)
        assert (given["class"], given["score"]) == (bundle.classes[kind], pytest.approx(score, abs=1e-5))


def test_min_score_asks_for_more_or_fewer_boxes(detector):
    contents = [png(picture(seed, 2)[0]) for seed in SEEDS]
    answers = {least: ask(detector, *contents, least=f"?min_score={least}") for least in (0, 0.2, 0.6, 1)}
    counts = {}
    for least, answer in answers.items():
        scores = [box["score"] for result in answer.json()["results"] for box in result["boxes"]]
        assert all(score >= least for score in scores)
        counts[least] = len(scores)
    assert counts[0] > counts[0.2] > counts[0.6] > counts[1] == 0
    default = ask(detector, *contents).json()["results"]
    named = ask(detector, *contents, least=f"?min_score={THRESHOLD}").json()["results"]
    assert default == named


@pytest.mark.parametrize("given", ["2", "-0.1", "nan", "much", "", "0.1&min_score=0.2"])
def test_a_min_score_that_cannot_be_is_refused(detector, given):
    answer = ask(detector, png(picture(1)[0]), least=f"?min_score={given}")
    assert answer.status_code == 400 and "is not one number from 0 to 1" in answer.json()["error"]
    assert "min_score=0.3" in answer.json()["remedy"]


def test_a_classifier_beside_it_has_no_boxes_and_says_so(detector, service):
    content = encoded(1)
    assert "boxes" not in form(service, content).json()["results"][0]
    answer = ask(service, content, least="?min_score=0.5")
    assert answer.status_code == 400 and "toy's model finds no boxes" in answer.json()["error"]
    assert answer.json()["remedy"] == "leave min_score out"
    assert "boxes" in ask(detector, content).json()["results"][0]


def test_boxes_are_those_of_the_upright_picture(detector):
    rgb, boxes, kinds = picture(PAIR, 3)
    turned, note = io.BytesIO(), Image.Exif()
    note[0x0112] = 6  # to be shown turned by 90 degrees clockwise
    Image.fromarray(rgb).transpose(Image.Transpose.ROTATE_90).save(turned, "PNG", exif=note)
    plain, again = (raw(detector, content).json()["results"][0] for content in (png(rgb), turned.getvalue()))
    assert plain == again and len(plain["boxes"]) == len(kinds) > 0
    assert overlap(sides(plain["boxes"][0]), max(boxes, key=lambda box: overlap(sides(plain["boxes"][0]), box))) > 0.5


def test_the_description_names_the_parameter_and_the_boxes(detector):
    predict = httpx.get(f"{detector.url}/openapi.json").json()["paths"]["/v1/predict"]["post"]
    (parameter,) = predict["parameters"]
    assert parameter["name"] == "min_score" and parameter["example"] == 0.3 and parameter["description"]
    examples = predict["responses"]["200"]["content"]["application/json"]["examples"]
    assert set(examples["boxes"]["value"]["results"][0]["boxes"][0]) == {"class", "score", "x", "y", "w", "h"}


def test_a_graph_of_the_other_kind_is_not_served(tmp_path, bundles, detector_bundle):
    """All digests fit, but the manifest says what the graph is not."""
    for number, (graph, kind) in enumerate([(bundles[1], "detection"), (detector_bundle, "classification")], start=1):
        folder = tmp_path / f"v{number}"
        shutil.copytree(graph, folder)
        made = read_bundle(folder)
        made = write_manifest(folder, Bundle(**vars(made) | {"kind": kind}))
        with pytest.raises(SightlineError, match="cannot be run"):
            load_model(tmp_path, Pointer(number, folder.name, made.digest), 1)


def test_without_a_threshold_boxes_are_called_from_even_odds(tmp_path, detector_bundle):
    shutil.copytree(detector_bundle, tmp_path / "made")
    bundle = write_manifest(tmp_path / "made", Bundle(**vars(read_bundle(detector_bundle)) | {"threshold": None}))
    model = load_model(tmp_path, publish(tmp_path, tmp_path / "made", 1), 1)
    assert bundle.box_threshold == 0.5
    shown = [picture(seed)[0] for seed in SEEDS]
    answers = model.answers([model.prepare(rgb) for rgb in shown], [rgb.shape[:2] for rgb in shown], None)
    scores = [box["score"] for answer in answers for box in answer["boxes"]]
    assert scores and min(scores) >= 0.5
