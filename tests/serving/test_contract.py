"""The service held to its own OpenAPI document: requests made from it, answers checked against it (schemathesis)."""

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.generation import GenerationMode

from tests.serving.conftest import Service, wait_for
from tests.serving.test_tokens import OLD, bearer, written
from tests.serving.tracking import RECIPE, frame, jpeg, publish

EXAMPLES = 5  # of each operation, of requests as they should be, and of such as they should not
PICTURES = st.sampled_from([jpeg(frame(0)), jpeg(frame(9)), jpeg(frame(0))[:300]]) | st.binary(max_size=200)
SERVED = {"name": RECIPE, "endpoint": RECIPE, "version": "1"}  # what paths must name to be found
EXCLUDED = "positive_data_acceptance"  # what is text or bytes by its schema is seldom a picture, and then refused


def test_the_service_keeps_to_its_document(tmp_path):
    """Every operation: no defect, no status, type or shape that is not written down, none open without a token."""
    load_all_checks()
    for kind in ("image/jpeg", "image/png", "application/octet-stream"):
        schemathesis.openapi.media_type(kind, PICTURES)
    publish(tmp_path / ".sightline" / "deployed" / RECIPE)
    service = Service(tmp_path, RECIPE, "--token-file", str(written(tmp_path / "tokens", OLD)))
    asked: set[tuple[str, int]] = set()
    try:
        wait_for(lambda: service.serves(1))
        schema = schemathesis.openapi.from_url(f"{service.url}/openapi.json", headers=bearer(OLD))
        for operation in (found.ok() for found in schema.get_all_operations()):
            named = {one.name: SERVED[one.name] for one in operation.path_parameters if one.name in SERVED}
            hold(operation.as_strategy(GenerationMode.POSITIVE, path_parameters=named or None), asked)
            if any((operation.path_parameters, operation.query, operation.headers, operation.body)):
                hold(operation.as_strategy(GenerationMode.NEGATIVE), asked)
    finally:
        service.end()
    assert {("POST /v1/predict", 200), ("POST /v1/predict", 400), ("GET /metrics", 200)} <= asked
    assert {label for label, _ in asked} >= {"POST /v1/track", "DELETE /v1/track/{session}", "GET /readyz"}


def hold(cases, asked: set[tuple[str, int]]) -> None:
    """Asks and checks; adds the statuses of operations to `asked`."""
    excluded = [check for check in CHECKS.get_all() if check.__name__ == EXCLUDED]

    @settings(
        max_examples=EXAMPLES, derandomize=True, deadline=None, database=None, phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(cases)
    def holds(case) -> None:
        answer = case.call(headers=bearer(OLD), timeout=60)
        asked.add((case.operation.label, answer.status_code))
        case.validate_response(answer, excluded_checks=excluded, headers=bearer(OLD))

    holds()
