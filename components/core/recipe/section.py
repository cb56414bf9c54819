"""What every section of a recipe is made of: strict, frozen, of plain values."""

from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

TUNED = "tuned"


class Section(BaseModel):
    """A section of a recipe: unknown keys are errors, values cannot be changed after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _fraction(value: Any) -> Any:
    """Rates are written as 5, 12.5 or '30000/1001' and are never rounded."""
    return Fraction(str(value)) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else value


Rate = Annotated[Fraction, BeforeValidator(_fraction), Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Tuned = Literal["tuned"]
Tunable = float | Tuned
