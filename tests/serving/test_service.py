"""The service's answers, asked over HTTP of a process of its own."""

import io
import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import httpx
import numpy as np
import onnxruntime
import pytest
from PIL import Image

from components.core.bundle import read_bundle
from components.core.media import decode_picture, fit, resize
from tests.deployment.making import picture
from tests.serving.conftest import ROOT


def encoded(seed: int, suffix: str = ".png", height: int = 120, width: int = 200) -> bytes:
    return cv2.imencode(suffix, cv2.cvtColor(picture(seed, height, width), cv2.COLOR_RGB2BGR))[1].tobytes()


def expected(bundle: Path, content: bytes) -> np.ndarray:
    """Probabilities as the bundle's manifest says they are to be had, without any of the service's code."""
    manifest = read_bundle(bundle)
    rgb = resize(fit(decode_picture(content), manifest.max_side), manifest.height, manifest.width)
    session = onnxruntime.InferenceSession(str(bundle / "model.onnx"), providers=["CPUExecutionProvider"])
    return session.run(None, {"frames": rgb[None, None]})[0][0, 0]


def post(service, **request) -> httpx.Response:
    return httpx.post(f"{service.url}/v1/predict", timeout=60, **request)


def raw(service, content: bytes | Iterator[bytes], kind: str = "image/png") -> httpx.Response:
    return post(service, content=content, headers={"content-type": kind})


def form(service, *contents: bytes, field: str = "picture") -> httpx.Response:
    return post(service, files=[(field, (f"{i}.png", content, "image/png")) for i, content in enumerate(contents)])


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp"])
def test_a_picture_is_scored_as_the_bundle_says(service, bundles, suffix):
    content = encoded(1, suffix)
    answer = raw(service, content, "application/octet-stream")
    assert answer.status_code == 200
    body, wanted = answer.json(), expected(bundles[1], content)
    digest = read_bundle(bundles[1]).digest
    assert body["model"] == {"recipe": "toy", "version": 1, "digest": digest}
    assert answer.headers["x-sightline-model"] == f"toy/v1@{digest[:12]}"
    (result,) = body["results"]
    assert [result["probabilities"][name] for name in ("normal", "suspicious")] == pytest.approx(wanted, abs=1e-5)
    assert result["score"] == result["probabilities"]["suspicious"]
    assert result["prediction"] == ("suspicious" if wanted[1] >= 0.4 else "normal")


def test_pictures_of_one_request_are_scored_as_if_alone_and_in_order(service):
    contents = [encoded(seed, height=80 + 10 * seed) for seed in range(5)]
    together = form(service, *contents).json()["results"]
    alone = [form(service, content).json()["results"][0] for content in contents]
    assert len({round(result["score"], 6) for result in together}) == 5
    for one, other in zip(together, alone, strict=True):
        assert one["score"] == pytest.approx(other["score"], abs=1e-5)


def test_the_orientation_that_the_camera_noted_is_honoured(service):
    upright = Image.fromarray(picture(3, 120, 200))
    turned, note = io.BytesIO(), Image.Exif()
    note[0x0112] = 6  # to be shown turned by 90 degrees clockwise
    upright.transpose(Image.Transpose.ROTATE_90).save(turned, "PNG", exif=note)
    plain = io.BytesIO()
    upright.save(plain, "PNG")
    scores = [raw(service, file.getvalue()).json()["results"][0]["score"] for file in (plain, turned)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-5)


def bomb(width: int = 30_000, height: int = 30_000) -> bytes:
    """A PNG of a few bytes whose header claims gigabytes of pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


def gif() -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture(1)).save(file, "GIF")
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "kind", "status", "says"),
    [
        (b"certainly not a picture", "image/png", 400, "not a picture"),
        (b"", "image/png", 400, "the body is empty"),
        (encoded(1, ".jpg")[:-900], "image/jpeg", 400, "cannot be decoded"),
        (encoded(1)[:40], "image/png", 400, ""),
        (bomb(), "image/png", 413, "30000 x 30000 pixels are more than 40000000"),
        (gif(), "image/gif", 415, "GIF"),
        (encoded(1), "text/plain", 415, "content type text/plain is not served"),
        (encoded(1), "", 415, "content type missing"),
        (bytes(10_000_001), "image/png", 413, "the body is larger than 10000000 bytes"),
    ],
)
def test_what_is_refused_and_why(service, content, kind, status, says):
    answer = raw(service, content, kind)
    body = answer.json()
    assert answer.status_code == status and says in body["error"] and body["remedy"]
    assert set(body) == {"error", "remedy"} and answer.headers["x-sightline-model"].startswith("toy/v1@")


def test_a_body_without_a_declared_length_is_stopped_while_it_is_read(service):
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 200_000_000:
            sent += 1_000_000
            yield bytes(1_000_000)

    assert raw(service, endless()).status_code == 413
    assert sent < 100_000_000


def test_a_form_too_large_is_stopped_too(service):
    assert form(service, bytes(6_000_000), bytes(6_000_000)).status_code == 413
    head = b'--x\r\nContent-Disposition: form-data; name="picture"; filename="a"\r\n\r\n'
    parts = (part for part in [head, *[bytes(1_000_000)] * 20])
    answer = raw(service, parts, "multipart/form-data; boundary=x")
    assert answer.status_code == 413


def test_forms_of_another_shape_are_refused(service):
    assert "field 'file'" in form(service, encoded(1), field="file").json()["error"]
    assert post(service, files={"picture": (None, "text")}).status_code == 400
    assert raw(service, b"--x--\r\n", "multipart/form-data; boundary=x").status_code == 400
    assert raw(service, b"nonsense", "multipart/form-data; boundary=x").status_code == 400
    assert raw(service, b"nonsense", "multipart/form-data").status_code == 400
    answer = form(service, *[encoded(1, height=8, width=8)] * 33)
    assert answer.status_code == 413 and "more than 32 pictures" in answer.json()["error"]
    assert form(service, *[encoded(1, height=8, width=8)] * 32).status_code == 200


def test_one_bad_picture_among_good_ones_is_named(service):
    answer = form(service, encoded(1), b"garbage", encoded(2))
    assert answer.status_code == 400 and answer.json()["error"] == "picture 2 of 3: not a picture"


def test_the_smallest_and_the_narrowest_picture(service):
    for height, width in ((1, 1), (1, 5000), (5000, 1)):
        content = cv2.imencode(".png", np.zeros((height, width, 3), np.uint8))[1].tobytes()
        assert raw(service, content).status_code == 200


def test_the_page_of_the_description_asks_no_other_server(service):
    """And so works where there is none, and runs nobody else's code."""
    page = httpx.get(f"{service.url}/docs").text
    named = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(named) == 3 and "//" not in "".join(named)
    assert {httpx.get(f"{service.url}{one}").status_code for one in named} == {200}


def test_pages_and_health(service):
    assert httpx.get(f"{service.url}/healthz").json() == {"status": "alive"}
    ready = httpx.get(f"{service.url}/readyz").json()
    assert ready["status"] == "ready" and ready["model"]["version"] == 1 and ready["problem"] is None
    page = httpx.get(f"{service.url}/").text
    assert "toy, version 1" in page and "0.875" in page and "<form" in page and "$" not in page
    paths = httpx.get(f"{service.url}/openapi.json").json()["paths"]
    predict = paths["/v1/predict"]["post"]
    examples = predict["responses"]["200"]["content"]["application/json"]["examples"]
    assert all(example["value"]["results"] for example in examples.values())
    assert {"400", "413", "415", "503"} <= set(predict["responses"])
    unknown = httpx.get(f"{service.url}/v2/predict")
    assert unknown.status_code == 404 and unknown.json()["remedy"] == "see /docs"
    assert httpx.get(f"{service.url}/v1/predict").status_code == 405


def test_the_service_needs_nothing_of_training():
    """What its image must hold: imports of the service's command, in a process of its own."""
    heavy = [
        "torch",
        "mlflow",
        "pyspark",
        "prefect",
        "dvc",
        "pandas",
        "sklearn",
        "scipy",
        "horovod",
        "components.tasks",
    ]
    code = f"import sys, components.serving.__main__; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
