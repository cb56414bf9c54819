"""infra/observability: every metric and label that a rule or a panel names is one that is really exported."""

import json
import re
import shutil
import subprocess

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from components.serving.app import create_app
from flows import gauges
from tests.flows.test_gauges import FOUND
from tests.infra import manifests as look
from tests.infra.manifests import KUBERNETES, ROOT
from tests.serving.conftest import wait_for
from tests.serving.tracking import frame, jpeg, payload, publish

FOLDER = ROOT / "infra" / "observability"
RULES = FOLDER / "prometheus" / "alerts.yml"
DASHBOARD = FOLDER / "grafana" / "dashboards" / "sightline.json"
SCRAPED = {"job", "instance"}  # labels that Prometheus adds
PUSHED = {"recipe"}  # those that the gateway adds to what is pushed
WORDS = set(
    "sum max min avg count by without on ignoring rate histogram_quantile time unless and or le group_left".split()
)


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> dict[str, set[str]]:
    """Name of a sample -> its labels, from a running service that was asked all sorts of things, and from a push."""
    folder = tmp_path_factory.mktemp("deployed") / "toy"
    folder.mkdir()
    publish(folder)
    app = create_app(folder)
    with TestClient(app, raise_server_exceptions=False) as client:
        wait_for(lambda: client.get("/readyz").status_code == 200)
        client.post("/v1/predict", files=[("picture", ("a.jpg", jpeg(frame(0)), "image/jpeg"))])
        client.post("/v1/track", json=payload(0))
        assert client.post("/v1/predict", content=b"no picture").status_code >= 400
        text = client.get("/metrics").text
    found: dict[str, set[str]] = {}
    for source, added in ((text, SCRAPED), (gauges.exposition(FOUND, 1.0), SCRAPED | PUSHED)):
        for family in text_string_to_metric_families(source):
            if not family.samples:  # nothing has happened that it counts: its name is known, its labels are not
                found[family.name + ("_total" if family.type == "counter" else "")] = {"*"}
            for sample in family.samples:
                found.setdefault(sample.name, set()).update(added, sample.labels)
    return found | {"up": {"job", "instance"}}


def expressions() -> list[tuple[str, str]]:
    """(where it stands, PromQL) of every rule and panel."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    found = [(rule["alert"], rule["expr"]) for group in groups for rule in group["rules"]]
    board = json.loads(DASHBOARD.read_text())
    found += [(panel["title"], target["expr"]) for panel in board["panels"] for target in panel["targets"]]
    return found


def unknown(expression: str, exported: dict[str, set[str]]) -> list[str]:
    """Metrics and labels of a PromQL expression that nobody exports."""
    plain = re.sub(r"\[[^]]*\]", "", expression)
    found, labels = [], set()
    for clause in re.findall(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)", plain):
        labels |= {word.strip() for word in clause.split(",")}
    bare = re.sub(r"\b(?:by|on|without|ignoring)\s*\([^)]*\)", "", plain)
    known: set[str] = set()
    for name, selector in re.findall(r"\b([a-z_]\w*)\b\s*(\{[^}]*\})?", re.sub(r'"[^"]*"', '""', bare)):
        if name in WORDS or not re.search(rf"(?<![\w\"=~{{,]){name}", bare):
            continue
        if name not in exported:
            if not re.search(rf"[{{,]\s*{name}\s*[=!]", bare):  # a label inside of a selector is looked at there
                found.append(f"metric {name}")
            continue
        known |= exported[name]
        used = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector))
        found += [
            f"{name} has no label {label}" for label in sorted(used - exported[name]) if "*" not in exported[name]
        ]
    if "*" not in known:
        found += [f"no label {label}" for label in sorted(labels - known)]
    return found


@pytest.mark.parametrize("where, expression", expressions(), ids=lambda value: value.split("\n")[0][:60])
def test_what_is_named_is_exported(exported, where, expression):
    assert unknown(expression, exported) == []
    assert re.search(r"sightline_|process_|up\{", expression), "it looks at something"


@pytest.mark.parametrize(
    "expression, words",
    [
        ("rate(sightline_request_total[5m])", ["metric sightline_request_total"]),
        ('sum by (recipe) (sightline_sessions{recipie="a"})', ["sightline_sessions has no label recipie"]),
        ("sum by (rout) (rate(sightline_requests_total[5m]))", ["no label rout"]),
        ("time() - sightline_drift_checked > 3", ["metric sightline_drift_checked"]),
        ('up{job="serving"} == 1 unless on (instanze) sightline_model_info', ["no label instanze"]),
    ],
)
def test_what_is_not_exported_is_found_out(exported, expression, words):
    assert unknown(expression, exported) == words


def test_every_alert_says_what_to_do():
    rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        assert rule["alert"].startswith("Sightline") and rule["labels"]["severity"] in ("page", "ticket")
        assert set(rule["annotations"]) == {"summary", "remedy"}


def test_every_alert_is_tried():
    """By the rules' own test file, which promtool runs."""
    tests = yaml.safe_load((FOLDER / "prometheus" / "alerts.test.yml").read_text())["tests"]
    tried = {one["alertname"] for test in tests for one in test["alert_rule_test"] if one["exp_alerts"]}
    rules = yaml.safe_load(RULES.read_text())["groups"]
    assert tried == {rule["alert"] for group in rules for rule in group["rules"]}


def test_promtool_takes_configuration_and_rules_and_their_tests():
    promtool = shutil.which("promtool")
    if not promtool:
        pytest.skip("there is no promtool (Debian: the package prometheus)")
    for command in (
        ["check", "config", "prometheus.yml"], ["check", "rules", "alerts.yml"], ["test", "rules", "alerts.test.yml"],
    ):  # fmt: skip
        reply = subprocess.run([promtool, *command], cwd=RULES.parent, capture_output=True, text=True)
        assert reply.returncode == 0, reply.stdout + reply.stderr


def test_promtool_takes_what_the_panels_ask(tmp_path):
    """As rules, Grafana's own variables filled in."""
    promtool = shutil.which("promtool")
    if not promtool:
        pytest.skip("there is no promtool (Debian: the package prometheus)")
    panels = json.loads(DASHBOARD.read_text())["panels"]
    asked = [target["expr"] for panel in panels for target in panel["targets"]]
    filled = [one.replace("$__rate_interval", "5m").replace("$recipe", ".*") for one in asked]
    assert not [one for one in filled if "$" in one]
    rules = [{"record": f"panel:{number}", "expr": expression} for number, expression in enumerate(filled)]
    (tmp_path / "panels.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    reply = subprocess.run([promtool, "check", "rules", tmp_path / "panels.yml"], capture_output=True, text=True)
    assert reply.returncode == 0 and f"{len(rules)} rules found" in reply.stdout, reply.stdout + reply.stderr


def test_grafana_finds_dashboard_and_data():
    provisioning = FOLDER / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text())["datasources"]
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "sightline.yaml").read_text())["providers"]
    board = json.loads(DASHBOARD.read_text())
    assert provider["options"]["path"] == "/etc/grafana/dashboards"
    used = {target["datasource"]["uid"] for panel in board["panels"] for target in panel["targets"]}
    assert used == {source["uid"]}
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids) == 17
    taken = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken and at["x"] + at["w"] <= 24, f"{panel['title']} lies on another"
        taken |= cells


def test_the_clusters_rules_are_the_same():
    groups = yaml.safe_load(RULES.read_text())["groups"]
    (rules,) = [one for one in look.render(KUBERNETES / "base") if one["kind"] == "PrometheusRule"]
    assert rules["spec"]["groups"] == groups
