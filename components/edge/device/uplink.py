"""Store and forward: batches of the queue to the receiver, in order, each until it is acknowledged.

    POST URL/v1/records     lines of {"sequence": N, "record": {...}}; none: the device only says that it lives
    Idempotency-Key         DEVICE/FIRST-LAST
    X-Sightline-Device      JSON: device, model, release, waiting, dropped

200 with {"acknowledged": [FIRST, LAST]} means: on the receiver's disk, once, whether or not it had come before. Only
then are they deleted here. A receiver that was not heard has them sent again.
"""

import http.client
import json
import logging
import random
import ssl
import threading
from collections.abc import Callable
from urllib.parse import urlsplit

from components.edge.device.config import Uplink
from components.edge.device.store import Store

PATH = "/v1/records"
KEY, ABOUT = "Idempotency-Key", "X-Sightline-Device"
TOKEN = "SIGHTLINE_EDGE_TOKEN"  # the environment's name of what the receiver asks for
FIRST_PAUSE_S = 0.5
IDLE_S = 0.5  # between two looks into a queue that was empty
ANSWER = 1 << 20  # bytes of an answer that are read

log = logging.getLogger("sightline.edge")


class NotDelivered(Exception):
    """A batch that was not acknowledged: `smaller` where the receiver asks for less at a time."""

    def __init__(self, reason: str, smaller: bool = False):
        super().__init__(reason)
        self.smaller = smaller


class Link:
    """The connection to a receiver. Raises NotDelivered for whatever keeps a batch from being acknowledged."""

    def __init__(self, settings: Uplink, about: Callable[[], dict], token: str = ""):
        parts = urlsplit(settings.url)
        self._secure, self._host, self._timeout = parts.scheme == "https", parts.netloc, settings.timeout_s
        self._path, self._about, self._token = parts.path.rstrip("/") + PATH, about, token

    def send(self, batch: list[tuple[int, bytes]]) -> None:
        """Delivers (sequence, body) records, or with none a sign of life."""
        about = self._about()
        about["waiting"] -= len(batch)  # as it will be, once these have arrived
        first, last = (batch[0][0], batch[-1][0]) if batch else (0, 0)
        lines = b"".join(b'{"sequence": %d, "record": %s}\n' % row for row in batch)
        headers = {
            "Content-Type": "application/x-ndjson", KEY: f"{about['device']}/{first}-{last}", ABOUT: json.dumps(about),
        }  # fmt: skip
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        status, body = self._post(lines, headers)
        if status != 200:
            raise NotDelivered(f"answers {status}: {body[:200].decode(errors='replace').strip()}", status == 413)
        try:
            acknowledged = json.loads(body)["acknowledged"]
        except (ValueError, KeyError, TypeError):
            raise NotDelivered("answers without an acknowledgement: is it a Sightline receiver?") from None
        if acknowledged != [first, last]:
            raise NotDelivered(f"acknowledges {acknowledged}, not {[first, last]}")

    def _post(self, lines: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        secure = {"context": ssl.create_default_context()} if self._secure else {}
        try:
            connection = kind(self._host, timeout=self._timeout, **secure)
            try:
                connection.request("POST", self._path, lines, headers)
                answer = connection.getresponse()
                return answer.status, answer.read(ANSWER)
            finally:
                connection.close()
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise NotDelivered(f"not reached ({error or type(error).__name__})") from None


class Pauses:
    """How long to wait after a failure: random up to a bound that doubles each time (full jitter), so that a thousand
    devices do not come back in the same second."""

    def __init__(self, longest: float):
        self._longest, self._failures = longest, 0

    def after_failure(self) -> float:
        """Seconds."""
        bound = min(self._longest, FIRST_PAUSE_S * 2**self._failures)
        self._failures = min(self._failures + 1, 30)
        return random.uniform(0.1 * bound, bound)

    def reset(self) -> None:
        """Something went through."""
        self._failures = 0


class Sender:
    """Empties a queue into a link, in a thread of its own or until it is empty."""

    def __init__(self, store: Store, link: Link, settings: Uplink):
        self._store, self._link, self._settings = store, link, settings
        self._records, self._stop = settings.batch_records, threading.Event()
        self._thread = threading.Thread(target=self._run, name="uplink", daemon=True)
        self._said = ""

    def start(self) -> None:
        """Begins to send whatever waits."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread; what was under way is acknowledged or stays."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(self._settings.timeout_s + 5)

    def drain(self, patient: bool, stop: threading.Event) -> None:
        """Sends until nothing waits, or `stop` is set; unless `patient`, until the first failure. With nothing waiting
        it says that the device lives."""
        pauses, first = Pauses(self._settings.retry_max_s), True
        while not stop.is_set():
            batch = self._batch()
            if not batch and not first:
                return
            first = False
            if self._sent(batch):
                pauses.reset()
            elif not patient:
                return
            else:
                stop.wait(pauses.after_failure())

    def _run(self) -> None:
        pauses, idle = Pauses(self._settings.retry_max_s), self._settings.heartbeat_s
        while not self._stop.is_set():
            try:
                batch = self._batch()
                if not batch and idle < self._settings.heartbeat_s:
                    self._stop.wait(IDLE_S)
                    idle += IDLE_S
                    continue
                idle, sent = 0.0, self._sent(batch)
            except Exception:  # the thread must outlive any surprise, or nothing would ever be sent again
                log.exception("uplink: a batch could not be sent")
                sent = False
            if sent:
                pauses.reset()
            else:
                self._stop.wait(pauses.after_failure())

    def _batch(self) -> list[tuple[int, bytes]]:
        return self._store.batch(self._records, self._settings.batch_kb << 10)

    def _sent(self, batch: list[tuple[int, bytes]]) -> bool:
        try:
            self._link.send(batch)
        except NotDelivered as error:
            if error.smaller and len(batch) > 1:
                self._records = len(batch) // 2
            if str(error) != self._said:  # once, not with every attempt of a night without a link
                log.warning("uplink: %s; %d records wait", error, self._store.waiting)
                self._said = str(error)
            return False
        if batch:
            self._store.acknowledge(batch[0][0], batch[-1][0])
        if self._said:
            log.info("uplink: delivers again")
            self._said = ""
        self._records = min(self._settings.batch_records, 2 * self._records)
        return True
