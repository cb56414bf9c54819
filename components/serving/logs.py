"""What the service says on standard error: plain lines, or JSON with a line a request."""

import json
import logging
import logging.config
import sys
from datetime import UTC, datetime

from components.serving.exchange import Exchange, request_id

REQUESTS = "sightline.requests"

log = logging.getLogger(REQUESTS)


class JsonLines(logging.Formatter):
    """A record as one line of JSON: time, level, then the fields of a request, or what is said and by whom."""

    def format(self, record: logging.LogRecord) -> str:
        """The line; whatever stands in it, it is one."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = {"time": at, "level": record.levelname.lower()}
        fields = getattr(record, "fields", None)
        if fields is None:
            fields = {"logger": record.name, "message": record.getMessage()}
            if given := request_id.get():
                fields["request_id"] = given
            if record.exc_info:
                fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(line | fields)


def configure(kind: str) -> dict | None:
    """Sets up logging of this kind, text or json; returns the configuration for uvicorn's own loggers."""
    if kind == "text":
        from uvicorn.config import LOGGING_CONFIG

        logging.basicConfig(level=logging.INFO, format="%(message)s")
        return LOGGING_CONFIG
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    return None


class RequestLog:
    """Logs a line a request. It names no token and nothing of a body."""

    def began(self, exchange: Exchange) -> None:
        """Says nothing yet."""

    def ended(self, exchange: Exchange) -> None:
        """Logs what came of it."""
        fields = {
            "request_id": exchange.request_id, "method": exchange.method, "route": exchange.route,
            "status": exchange.status, "ms": round(exchange.seconds * 1000, 3), "bytes": exchange.sent,
            "received": exchange.received, "model": exchange.model, "client": exchange.client,
        }  # fmt: skip
        if exchange.reason:
            fields["reason"] = exchange.reason
        level = logging.ERROR if exchange.status >= 500 else logging.INFO
        log.log(level, "", extra={"fields": fields})
