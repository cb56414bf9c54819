"""The shell of the scene generator: `python -m components.scenes DIRECTORY --seed 11 --train 24 --val 8 --test 12`."""

import argparse
import sys

from components.core.progress import progress
from components.core.stage import guarded
from components.scenes import SceneSpec, clip_specs, generate


def main(argv: list[str] | None = None) -> int:
    """Generates a scene into a folder; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m components.scenes",
        description="Generates CCTV-like clips of the six CAVIAR scenarios with exact truth.",
        epilog="example: python -m components.scenes data/scenes --seed 11 --train 24 --val 8 --test 12 --seconds 8",
    )
    parser.add_argument("directory", help="where to write videos/, labels.csv, boxes.csv, clips.csv and scene.json")
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--train", type=int, default=24, metavar="CLIPS")
    parser.add_argument("--val", type=int, default=8, metavar="CLIPS")
    parser.add_argument("--test", type=int, default=12, metavar="CLIPS")
    parser.add_argument("--seconds", type=float, default=8.0, help="length of each clip")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the cameras' picture sizes")
    parser.add_argument("--night", action="store_true", help="the same cameras after dark: infra-red, dim, noisy")
    parser.add_argument("--workers", type=int, default=None, help="processes (default: one per core)")
    a = parser.parse_args(argv)

    def run() -> None:
        spec = SceneSpec(a.seed, a.train, a.val, a.test, a.seconds, a.scale, a.night)
        with progress("scenes", len(clip_specs(spec)), "clips") as ticker:
            generate(spec, a.directory, a.workers, lambda done, total: ticker.update(done))

    return guarded(run, "scenes")


if __name__ == "__main__":
    sys.exit(main())
