"""Several recipes in one service: each below a path of its own, followed to its own champion."""

import asyncio
import base64
import json
import subprocess
import sys
from pathlib import Path

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from prometheus_client.parser import text_string_to_metric_families

from components.core.bundle import write_pointer
from components.core.errors import UsageError
from components.serving.__main__ import folders_of
from components.serving.app import create_app
from tests.deployment import making
from tests.serving.asgi import Answer, Service, running
from tests.serving.conftest import ROOT, wait_for
from tests.serving.conftest import Service as Process
from tests.serving.conftest import publish as publish_bundle
from tests.serving.test_track import in_loop
from tests.serving.tracking import frame, jpeg, payload, publish

MOVING, TOY = "moving", making.RECIPE
PICTURE = jpeg(frame(0))
TARGET = "x-amzn-sagemaker-target-model"


@pytest.fixture
def deployed(tmp_path: Path, bundles: dict[int, Path]) -> list[Path]:
    """A detector that follows and a classifier, both published as version 1."""
    folders = [tmp_path / MOVING, tmp_path / TOY]
    publish(folders[0])
    write_pointer(folders[1], publish_bundle(folders[1], bundles[1], 1))
    return folders


async def scored(service: Service, path: str, **headers: str) -> Answer:
    return await service.ask("POST", path, PICTURE, **{"content_type": "image/jpeg"} | headers)


@in_loop
async def test_each_recipe_answers_below_its_own_path(deployed):
    async with running(deployed) as service:
        for recipe, boxed in ((MOVING, True), (TOY, False)):
            answer = await scored(service, f"/v1/{recipe}/predict")
            assert answer.status == 200 and answer.body["model"]["recipe"] == recipe
            assert answer.headers["x-sightline-model"].startswith(f"{recipe}/v1@")
            assert ("boxes" in answer.body["results"][0]) == boxed
        bad = await service.ask("POST", f"/v1/{TOY}/predict", b"none", content_type="image/jpeg")
        assert bad.status == 400 and bad.headers["x-sightline-model"].startswith(f"{TOY}/v1@")
        unnamed = await scored(service, "/v1/predict")
        assert unnamed.status == 404 and "x-sightline-model" not in unnamed.headers
        followed = await service.ask("POST", f"/v1/{MOVING}/track", json.dumps(payload(0)).encode())
        assert followed.status == 200 and len(followed.body["tracks"]) == 2
        assert (await service.ask("POST", f"/v1/{TOY}/track", json.dumps(payload(0)).encode())).status == 404
        assert (await service.ask("DELETE", f"/v1/{MOVING}/track/default")).body["frames"] == 1
        assert (await service.ask("POST", f"/v1/{TOY}/clips", b"", content_type="video/mp4")).status == 400


@in_loop
async def test_it_is_ready_when_all_are(tmp_path, deployed):
    pointer = deployed[0] / "champion.json"
    content = pointer.read_text()
    pointer.unlink()
    app = create_app(deployed)
    async with app.router.lifespan_context(app):
        service = Service(app)
        while not app.state.champions[TOY].model or not app.state.champions[MOVING].problem:
            await asyncio.sleep(0.02)
        early = await service.ask("GET", "/readyz")
        assert early.status == 503 and early.body["error"].startswith(f"{MOVING}: ") and early.body["remedy"]
        states = early.body["recipes"]
        assert states[TOY]["status"] == "ready" and states[TOY]["model"]["version"] == 1
        assert states[MOVING]["model"] is None and "no champion" in states[MOVING]["problem"]
        for probe in ("/ping", "/v2/health/ready"):
            assert (await service.ask("GET", probe)).status == 503
        assert (await scored(service, f"/v1/{TOY}/predict")).status == 200, "the other is served"
        assert (await scored(service, f"/v1/{MOVING}/predict")).status == 503
        pointer.write_text(content)
        while not app.state.champions[MOVING].model:
            await asyncio.sleep(0.02)
        ready = await service.ask("GET", "/readyz")
        assert ready.status == 200 and ready.body["status"] == "ready"
        assert {name: one["problem"] for name, one in ready.body["recipes"].items()} == {MOVING: None, TOY: None}
        assert set((await service.ask("GET", "/ping")).body["models"]) == {MOVING, TOY}


@in_loop
async def test_a_swap_of_one_leaves_the_other_alone(deployed, bundles):
    async with running(deployed) as service:
        before = service.app.state.champions[MOVING].model
        write_pointer(deployed[1], publish_bundle(deployed[1], bundles[2], 2))
        while service.app.state.champions[TOY].model.version != 2:
            await asyncio.sleep(0.02)
        assert (await scored(service, f"/v1/{TOY}/predict")).body["model"]["version"] == 2
        assert service.app.state.champions[MOVING].model is before


@in_loop
async def test_invocations_say_which_recipe_they_are_for(deployed):
    async with running(deployed) as service:
        unnamed = await scored(service, "/invocations")
        assert unnamed.status == 400 and f"{MOVING}, {TOY}" in unnamed.body["remedy"]
        for path, target, recipe in (
            ("/invocations", TOY, TOY),
            ("/invocations", f"{MOVING}.tar.gz", MOVING),
            (f"/endpoints/{TOY}/invocations", None, TOY),
            ("/endpoints/mine/invocations", MOVING, MOVING),
        ):
            answer = await scored(service, path, **({TARGET: target} if target else {}))
            assert answer.status == 200 and answer.headers["x-sightline-model"].startswith(f"{recipe}/")
            assert ("boxes" in answer.body["predictions"][0]) == (recipe == MOVING)
        for path, target in (("/invocations", "digits"), ("/endpoints/mine/invocations", None)):
            answer = await scored(service, path, **({TARGET: target} if target else {}))
            assert answer.status == 404 and answer.body["remedy"] == f"served here: {MOVING}, {TOY}"


@pytest.mark.parametrize(
    ("path", "target", "model"),
    [
        ("/invocations", TOY, TOY),
        ("/invocations", f"{MOVING}.tar.gz", MOVING),
        (f"/endpoints/{TOY}/invocations", MOVING, MOVING),
        ("/endpoints/mine/invocations", TOY, TOY),
        (f"/endpoints/{TOY}/invocations", None, TOY),
        (f"/endpoints/{TOY}/invocations", "digits", None),
        ("/invocations", None, None),
    ],
)
@in_loop
async def test_what_is_refused_names_the_model_that_was_asked_for(deployed, path, target, model):
    async with running(deployed) as service:
        headers = {"content_type": "image/jpeg"} | ({TARGET: target} if target else {})
        answer = await service.ask("POST", path, b"none", **headers)
    assert answer.status in (400, 404)
    assert answer.headers.get("x-sightline-model", "").partition("/")[0] == (model or "")


@in_loop
async def test_the_page_asks_below_the_folder_that_is_served(tmp_path, deployed):
    hall = tmp_path / "hall"
    publish(hall)  # of the recipe MOVING
    async with running([hall, deployed[1]]) as service:
        page = (await service.ask("GET", "/")).body
        assert 'fetch("/v1/hall/predict"' in page and (await scored(service, "/v1/hall/predict")).status == 200


@in_loop
async def test_of_one_recipe_another_target_is_refused(deployed):
    async with running(deployed[1]) as service:
        assert (await scored(service, "/invocations", **{TARGET: TOY})).status == 200
        assert (await scored(service, "/invocations", **{TARGET: MOVING})).status == 404
        page = (await service.ask("GET", "/")).body
        assert 'fetch("/v1/predict"' in page and "/?recipe=" not in page


@in_loop
async def test_kserves_models_are_the_recipes(deployed):
    body = {"datatype": "BYTES", "shape": [1], "data": [base64.b64encode(PICTURE).decode()], "name": "encoded"}
    async with running(deployed) as service:
        for recipe, boxed in ((MOVING, True), (TOY, False)):
            assert (await service.ask("GET", f"/v2/models/{recipe}")).body["name"] == recipe
            answer = await service.ask("POST", f"/v2/models/{recipe}/infer", json.dumps({"inputs": [body]}).encode())
            assert answer.status == 200 and answer.body["model_name"] == recipe
            assert ("boxes" in {one["name"] for one in answer.body["outputs"]}) == boxed
        assert (await service.ask("GET", "/v2/models/digits")).status == 404


@in_loop
async def test_counts_are_by_recipe(deployed):
    async with running(deployed) as service:
        for recipe, times in ((MOVING, 1), (TOY, 2)):
            for _ in range(times):
                await scored(service, f"/v1/{recipe}/predict")
        await scored(service, "/invocations", **{TARGET: TOY})
        await service.ask("GET", "/healthz")
        text = (await service.ask("GET", "/metrics")).body
    found = {
        (one.name, *sorted(one.labels.values())): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }
    for recipe, pictures in ((MOVING, 1), (TOY, 3)):
        assert found["sightline_pictures_total", recipe] == found["sightline_engine_seconds_count", recipe] == pictures
        assert found["sightline_model_problem", recipe] == found["sightline_model_swaps_total", recipe] == 0
        assert found["sightline_sessions", recipe] == 0
    assert found["sightline_requests_total", "/v1/toy/predict", "200", "POST", TOY] == 2
    assert found["sightline_requests_total", "/invocations", "200", "POST", TOY] == 1
    assert found["sightline_requests_total", "", "/healthz", "200", "GET"] == 1


@in_loop
async def test_document_and_page_tell_of_each(deployed):
    async with running(deployed) as service:
        paths = (await service.ask("GET", "/openapi.json")).body["paths"]
        for recipe in (MOVING, TOY):
            for route in ("predict", "track", "track/{session}", "clips", "clips/{job}", "clips/{job}/{result}"):
                assert f"/v1/{recipe}/{route}" in paths
        assert "/v1/predict" not in paths
        assert TARGET in {one["name"].lower() for one in paths["/invocations"]["post"]["parameters"]}
        first = (await service.ask("GET", "/")).body
        assert f'fetch("/v1/{MOVING}/predict"' in first and f'<a href="/?recipe={TOY}">' in first


def test_a_process_of_two_recipes_and_sagemakers_client(tmp_path, bundles):
    root = tmp_path / ".sightline" / "deployed"
    publish(root / MOVING)
    write_pointer(root / TOY, publish_bundle(root / TOY, bundles[1], 1))
    service = Process(tmp_path, MOVING, "--recipe", MOVING, TOY)  # the last word counts
    try:
        wait_for(lambda: service.ready().get("status") == "ready")
        client = boto3.client(
            "sagemaker-runtime", endpoint_url=service.url, region_name="x", config=Config(signature_version=UNSIGNED)
        )
        for recipe in (MOVING, TOY):
            answer = client.invoke_endpoint(
                EndpointName="both", ContentType="image/jpeg", Body=PICTURE, TargetModel=f"{recipe}.tar.gz"
            )
            assert answer["InvokedProductionVariant"].startswith(f"{recipe}/v1@")
            assert json.loads(answer["Body"].read())["predictions"]
        assert service.end() == 0
    finally:
        if service.process.poll() is None:
            service.end()


def test_a_recipe_that_is_named_twice_is_refused():
    command = [sys.executable, "-m", "components.serving", "--recipe", TOY, TOY, "--port", "0"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2 and f"{TOY} is named twice" in done.stderr


@pytest.mark.parametrize("name", ["", "..", "../toy", "a/../toy", "/toy", "{toy}", "toy?", "\u043b"])
def test_a_name_that_is_no_recipes_is_refused(name):
    with pytest.raises(UsageError) as refusal:
        folders_of([TOY, name])
    assert repr(name) in refusal.value.problem and refusal.value.remedy
