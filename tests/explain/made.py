"""Pictures with chequered discs, and scores that look at nothing else."""

import numpy as np


def blob(shape: tuple[int, int], centre: tuple[int, int], radius: int, seed: int = 0) -> np.ndarray:
    """(H, W, 3) uint8: a chequered disc at `centre` (x, y) on dark noise."""
    return blobs(shape, [centre], radius, seed)


def blobs(shape: tuple[int, int], centres: list[tuple[int, int]], radius: int, seed: int = 0) -> np.ndarray:
    """(H, W, 3) uint8: chequered discs on dark noise; in the mean colour of a superpixel that is off they are gone."""
    picture = np.random.default_rng(seed).integers(20, 60, (*shape, 3)).astype(np.uint8)
    y, x = np.mgrid[: shape[0], : shape[1]]
    chequered = np.where(((x // 3 + y // 3) % 2)[..., None] == 1, (250, 240, 200), (10, 40, 20)).astype(np.uint8)
    for centre in centres:
        inside = disc(shape, centre, radius)
        picture[inside] = chequered[inside]
    return picture


def disc(shape: tuple[int, int], centre: tuple[int, int], radius: int) -> np.ndarray:
    """(H, W) bool."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    return (x - centre[0]) ** 2 + (y - centre[1]) ** 2 <= radius**2


def blob_score(pictures: np.ndarray, shape: tuple[int, int], centre: tuple[int, int], radius: int) -> np.ndarray:
    """(N,) in 0..1: how much of the disc is there in each picture (N, H, W, 3)."""
    share = (pictures[:, disc(shape, centre, radius), 0] > 200).mean(1)
    return 1 / (1 + np.exp(-16 * (share - 0.25)))


def any_bright(pictures: np.ndarray) -> np.ndarray:
    """(N,) in 0..1: whether there is any disc in a picture, wherever it is."""
    share = (pictures[..., 0] > 200).mean((1, 2))
    return 1 - np.exp(-80 * share)
