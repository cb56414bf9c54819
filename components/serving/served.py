"""The recipes that a service serves: the model of each, and which of them a request is for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers

from components.serving.champion import Champion
from components.serving.model import ServedModel
from components.serving.pictures import Refusal

TARGET = "X-Amzn-SageMaker-Target-Model"  # names the recipe, or RECIPE.tar.gz, as which SageMaker's clients know models


@dataclass(frozen=True)
class Served:
    """One recipe of the service: the name of its folder of published bundles, and its champion."""

    folder: str
    champion: Champion

    @property
    def name(self) -> str:
        """The recipe's name, as its model says, or its folder where none is loaded."""
        return self.champion.model.bundle.recipe if self.champion.model else self.folder

    def serving(self) -> ServedModel:
        """The model of now. Raises Refusal (503) where there is none."""
        model, problem = self.champion.model, self.champion.problem
        if model is None:
            why = (problem.problem, problem.remedy) if problem else ("the model is being loaded", "ask again shortly")
            raise Refusal(503, *why)
        return model

    def state(self) -> dict:
        """{status, model, problem}: ready or not, identity of the model or None, and what is wrong or None."""
        model, problem = self.champion.model, self.champion.problem
        return {
            "status": "ready" if model else "not ready", "model": model and model.identity,
            "problem": problem and problem.problem,
        }  # fmt: skip


class Roster:
    """All recipes of a service, in the order in which they were named; at least one."""

    def __init__(self, served: Sequence[Served]):
        self.all = tuple(served)

    @property
    def several(self) -> bool:
        """True where requests must say which recipe they are for."""
        return len(self.all) > 1

    @property
    def names(self) -> str:
        """The recipes as a sentence lists them."""
        return ", ".join(one.name for one in self.all)

    def named(self, name: str, what: str) -> Served:
        """The recipe of this name. Raises Refusal (404), which calls it a `what`, such as model or endpoint; 503 where
        the only recipe has no model yet, so that nobody can say what it is called."""
        if not self.several:
            self.all[0].serving()
        for one in self.all:
            if one.name == name:
                return one
        raise Refusal(404, f"{what} {name[:64]!r} is not served", f"served here: {self.names}")

    def asked(self, scope: Mapping[str, Any]) -> Served | None:
        """The recipe that a request of this ASGI scope is for; None where neither its path nor TARGET says."""
        if not self.several:
            return self.all[0]
        parts = scope["path"].split("/")[1:]
        place = {"v1": 1, "endpoints": 1, "v2": 2}.get(parts[0], len(parts))
        name = parts[place] if place < len(parts) else ""
        if parts[-1] == "invocations" and (target := Headers(scope=scope).get(TARGET)):
            name = of_archive(target)
        return next((one for one in self.all if name in (one.folder, one.name)), None)

    def check(self) -> None:
        """Raises Refusal (503), naming the recipe, where one has no model."""
        for one in self.all:
            try:
                one.serving()
            except Refusal as refusal:
                where = f"{one.name}: " if self.several else ""
                raise Refusal(refusal.status, where + refusal.error, refusal.remedy) from None


def of_archive(target: str) -> str:
    """The recipe that TARGET names."""
    return target.removesuffix(".tar.gz")
