"""What stands between the server and the routes: every request passes it, in this order."""

from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.middleware.cors import CORSMiddleware

from components.serving.deadline import Deadline
from components.serving.exchange import ID, STARTS, Exchanges
from components.serving.explain_routes import NAMED
from components.serving.intake import Intake
from components.serving.linger import Lingering
from components.serving.logs import RequestLog
from components.serving.metrics import Metrics
from components.serving.model import HEADER
from components.serving.options import Options
from components.serving.pictures import Limits
from components.serving.rate import Rate
from components.serving.refusing import Defects
from components.serving.served import TARGET, Roster
from components.serving.tokens import Guard, Tokens

READ_OFF = 4  # times the limit on a body: what is read and thrown away of one that is too large


class ModelHeader:
    """ASGI middleware: every answer, errors too, names the model that is being served; of several, that of the recipe
    that is asked."""

    def __init__(self, app, roster: Roster):
        self.app, self.roster = app, roster

    async def __call__(self, scope, receive, send):
        async def named(message):
            served = self.roster.asked(scope) if message["type"] in STARTS else None
            model = served and served.champion.model
            if model:
                message.setdefault("headers", [])
                MutableHeaders(scope=message).setdefault(HEADER, model.tag)
            await send(message)

        await self.app(scope, receive, named)


def add_front(app: FastAPI, roster: Roster, limits: Limits, options: Options, metrics: Metrics) -> None:
    """Adds the middlewares. Raises SightlineError where the token file is none to go by."""
    observers = [metrics, *([RequestLog()] if options.log == "json" else [])]
    order = [
        # The outermost sees every answer: also those of a page's origin (CORS asks without a token), and of a defect.
        (Exchanges, {"observers": observers}),
        *([(CORSMiddleware, _cors(options.cors))] if options.cors else []),
        (ModelHeader, {"roster": roster}),
        (Lingering, {"most": READ_OFF * limits.body_bytes}),
        (Defects, {}),
        *([(Guard, {"tokens": Tokens(options.tokens)})] if options.tokens else []),
        *([(Rate, {"rate": options.rate, "refused": metrics.refused})] if options.rate else []),
        (Deadline, {"seconds": options.timeout_s, "explain_s": options.explain_s}),
        (Intake, {}),
    ]
    for kind, given in reversed(order):
        app.add_middleware(kind, **given)


def _cors(origins: tuple[str, ...]) -> dict:
    return {
        "allow_origins": origins,
        "allow_methods": ["GET", "POST", "DELETE"],
        "allow_headers": ["Authorization", "Content-Type", ID, "X-Sightline-Session", TARGET],
        "expose_headers": [ID, HEADER, NAMED, "Retry-After"],
    }
