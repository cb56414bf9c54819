"""The audit trail: every move of a champion alias, kept in the registry as tags of the registered model.

What somebody moves in MLflow itself is not in it; the next move made here names the version that it found.
"""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from mlflow.exceptions import MlflowException

from components.core import tracking
from components.core.files import json_text

TAG = "sightline.move."
REASON_LENGTH = 1000  # MLflow keeps up to 5000 characters of a tag


@dataclass(frozen=True)
class Move:
    """One move: when (ISO 8601, UTC), from which version (None: there was no champion) to which, and why.

    `by`: promotion (the stage) | promote | rollback. `origin`: the commit and the flow run it was made from, if any.
    """

    time: str
    before: int | None
    after: int
    by: str
    reason: str
    origin: dict[str, str]


def moves(name: str) -> list[Move]:
    """The moves of a registered model's champion alias, the first one first."""
    try:
        tags = tracking.client().get_registered_model(name).tags
    except MlflowException as error:
        if error.error_code in tracking.ABSENT:
            return []
        raise
    return [Move(**json.loads(tags[key])) for key in sorted(tags) if key.startswith(TAG)]


def move(name: str, version: int, by: str, reason: str) -> bool:
    """Lets the champion alias name `version`; whether it did not already. The caller holds the registry's lock.

    One call of the registry moves the alias. A move that was killed before it was noted is noted when it is repeated.
    """
    client, made = tracking.client(), moves(name)
    present = tracking.version_by_alias(name, tracking.CHAMPION)
    before = present and int(present.version)
    if before == version and made and made[-1].after == version:
        return False
    if before == version:  # moved, by a call that was killed or by hand, and not noted
        before = made[-1].after if made else None
    else:
        client.set_registered_model_alias(name, tracking.CHAMPION, str(version))
    now = datetime.now(UTC).isoformat(timespec="seconds")
    noted = Move(now, before, version, by, reason[:REASON_LENGTH], tracking.origin())
    client.set_registered_model_tag(name, f"{TAG}{len(made):06}", json_text(asdict(noted)))
    return True
