"""What the service has done and is doing, for Prometheus."""

from collections.abc import Iterator, Sequence

from fastapi import FastAPI, Request, Response
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from components.serving import describe
from components.serving.exchange import Exchange
from components.serving.gate import Gate
from components.serving.refusing import REASONS
from components.serving.served import Served
from components.serving.sessions import Sessions

REQUEST_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
ENGINE_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

disable_created_metrics()  # a time of creation for each series would double their number


class Metrics:
    """Counts of one service, in a registry of their own. Labels are of few words: routes are templates, and what the
    service does not have is one of them."""

    def __init__(self):
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Counter(
            "sightline_requests", "Requests by recipe, route, method and status (0: broken off unanswered)",
            ["recipe", "route", "method", "status"], registry=self.registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "sightline_request_seconds", "From a request's head to the end of its answer; of a stream, all it lasted",
            ["recipe", "route", "method"], buckets=REQUEST_S, registry=self.registry,
        )  # fmt: skip
        self._in_flight = Gauge(
            "sightline_requests_in_flight", "Requests and streams that are being answered", registry=self.registry
        )
        self._refusals = Counter(
            "sightline_refusals", "Requests and messages of streams that were refused", ["reason"],
            registry=self.registry,
        )  # fmt: skip
        self._pictures = Counter(
            "sightline_pictures", "Pictures and frames scored", ["recipe"], registry=self.registry
        )  # fmt: skip
        self._engine = Histogram(
            "sightline_engine_seconds", "One pass of the network", ["recipe"], buckets=ENGINE_S, registry=self.registry
        )
        self._captured = Counter(
            "sightline_captured", "Pictures whose answers were written down", registry=self.registry
        )  # fmt: skip
        self._capture_dropped = Counter(
            "sightline_capture_dropped", "Pictures that were drawn for that and were not written", ["reason"],
            registry=self.registry,
        )  # fmt: skip
        self._capture_problem = Gauge(
            "sightline_capture_problem", "1 where the last of them could not be written, else 0", registry=self.registry
        )

    def began(self, exchange: Exchange) -> None:
        """A request has come."""
        self._in_flight.inc()

    def ended(self, exchange: Exchange) -> None:
        """It was answered, or broke off."""
        self._in_flight.dec()
        recipe = (exchange.model or "").partition("/")[0]  # of the model's tag; none where no recipe was asked
        self._requests.labels(recipe, exchange.route, exchange.method, exchange.status).inc()
        self._seconds.labels(recipe, exchange.route, exchange.method).observe(exchange.seconds)
        if exchange.status >= 400:
            self.refused(exchange.reason or REASONS.get(exchange.status, "other"))

    def refused(self, reason: str) -> None:
        """A request or message was refused, for a reason of few words."""
        self._refusals.labels(reason).inc()

    def passed(self, recipe: str, pictures: int, seconds: float) -> None:
        """A recipe's network has looked at so many pictures in so long. From any thread."""
        self._pictures.labels(recipe).inc(pictures)
        self._engine.labels(recipe).observe(seconds)

    def captured(self, pictures: int) -> None:
        """So many pictures and their answers were written down. From any thread."""
        self._captured.inc(pictures)

    def capture_dropped(self, pictures: int, reason: str) -> None:
        """So many were not, for a reason of few words. From any thread."""
        self._capture_dropped.labels(reason).inc(pictures)

    def capture_problem(self, there: bool) -> None:
        """Whether the last write failed. From any thread."""
        self._capture_problem.set(there)


class State(Collector):
    """What is so at the moment that somebody looks: the model and the sessions of each recipe, the gate."""

    def __init__(self, recipes: Sequence[tuple[Served, Sessions]], gate: Gate):
        self._recipes, self._gate = recipes, gate

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        """The families. A model that is no longer served has no series left."""
        info = GaugeMetricFamily(
            "sightline_model_info", "The model that is served: 1", labels=["recipe", "version", "digest"]
        )
        swaps = CounterMetricFamily(
            "sightline_model_swaps", "Times that a model took the place of another", labels=["recipe"]
        )  # fmt: skip
        problem = GaugeMetricFamily(
            "sightline_model_problem", "1 where the model is not what the pointer names, else 0", labels=["recipe"]
        )
        followed = GaugeMetricFamily("sightline_sessions", "Sessions that are followed", labels=["recipe"])
        for served, sessions in self._recipes:
            if model := served.champion.model:
                info.add_metric([str(value) for value in model.identity.values()], 1)
            swaps.add_metric([served.name], served.champion.swaps)
            problem.add_metric([served.name], int(served.champion.problem is not None))
            followed.add_metric([served.name], len(sessions))
        yield from (info, swaps, problem, followed)
        yield GaugeMetricFamily(
            "sightline_gate_within", "Requests that hold a place: at work, or waiting", value=self._gate.within
        )
        yield GaugeMetricFamily("sightline_gate_waiting", "Requests that wait for a thread", value=self._gate.waiting)


def add_metrics(app: FastAPI, metrics: Metrics, state: State) -> None:
    """Adds GET /metrics, in the Prometheus text format or, for who asks for it, OpenMetrics."""
    metrics.registry.register(state)

    @app.get("/metrics", summary="Counts for Prometheus", response_class=Response, responses=describe.METRICS)
    async def measured(request: Request) -> Response:
        try:
            encode, kind = choose_encoder(request.headers.get("accept", ""))
        except (TypeError, ValueError):  # a version that is no number
            encode, kind = choose_encoder("")
        return Response(encode(metrics.registry), headers={"Content-Type": kind})
