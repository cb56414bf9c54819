"""What each stage needs (flows/stages.yaml): image, share of a machine, tries, time."""

from functools import cache
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveFloat

TABLE = Path(__file__).with_name("stages.yaml")


class Needs(BaseModel):
    """One row of the table; see the comments there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    image: str
    cpus: PositiveFloat
    memory_gb: PositiveFloat
    gpus: NonNegativeInt
    retries: NonNegativeInt
    backoff_s: float = Field(ge=0)
    timeout_s: PositiveFloat | None
    runner: Literal["local", "docker", "kubernetes"] | None


def needs(stage: str) -> Needs:
    """What a stage (its name without the recipe) needs; one that the table does not name needs the defaults."""
    table = _table()
    return Needs(**table["defaults"] | (table["stages"] | table["components"]).get(stage, {}))


@cache
def _table() -> dict:
    return yaml.safe_load(TABLE.read_text())
