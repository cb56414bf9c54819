"""The parts that a vector is put together of, for those who handle vectors and run no network: imports no torch."""

from components.core.recipe import Features

POOLED = ("mean", "max")  # parts made of the backbone's last map, in the order in which they are computed


def identity(params: Features, weights_digest: str) -> dict[str, str]:
    """What makes two vectors comparable, as text: noted beside the features and compared before a model is exported."""
    size = "x".join(map(str, params.size))
    return {"backbone": params.backbone, "weights": weights_digest, "size": size, "parts": ",".join(params.parts)}


def places(sizes: dict[str, int]) -> dict[str, slice]:
    """Where each part lies in a vector, from how many numbers each has, in the vector's order."""
    ends = [sum(list(sizes.values())[: i + 1]) for i in range(len(sizes))]
    return {part: slice(end - size, end) for (part, size), end in zip(sizes.items(), ends, strict=True)}
