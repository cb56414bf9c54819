"""The measurements of this folder: `python -m bench` lists them, `python -m bench NAME [OPTIONS]` runs one."""

import runpy
import sys

MEASUREMENTS = {
    "frames": ("bench.frames", "the frames stage against a plain decode loop and against seeking"),
    "features": ("bench.features", "the features stage against the raw loop of each engine"),
    "catalogue": ("bench.catalogue", "pictures per second while 20,000 small pictures are catalogued"),
    "incremental": ("bench.incremental", "one new clip among 200 against the full run"),
    "digits": ("bench.digits", "handwritten digits: fine-tuning beside the published recipe, over seeds"),
    "camera_trap": ("bench.camera_trap", "animal or empty, each site left out in turn, beside the frozen baseline"),
    "label_noise": ("bench.label_noise", "wrong labels in training: the robust loss and mining beside cross-entropy"),
    "explain": ("bench.explain", "LIME on Spark against the reference package, and the light detector against both"),
    "wildlife": ("bench.wildlife", "a detector without a human label, on real photographs"),
    "tracking": ("bench.tracking", "FairMOT on generated and real people, beside YOLOX-nano, and how fast it is"),
    "serving": ("bench.serving", "the model service beside MLflow's and a plain handler, swaps, memory"),
    "edge": ("bench.edge", "a device: memory, start, speed and accuracy of float32 and int8, power cuts"),
    "orchestration": ("bench.orchestration", "what the flow costs over its stages, and a run where nothing changed"),
    "planning": ("bench.planning", "a core's seconds and a row's bytes, for `sightline plan`"),
    "chaos": ("bench.chaos", "kill -9 at random instants, and a hundred runs three at a time"),
    "closed_loop": ("bench.closed_loop", "the world changes: one retraining, a better champion; unchanged: none"),
    "pretraining": ("bench.pretraining.pretrain_small", "the shipped backbone, and the same network from scratch"),
}


def main() -> int:
    """Runs the measurement named first on the command line; without a name prints what there is."""
    if len(sys.argv) < 2 or sys.argv[1] not in MEASUREMENTS:
        for name, (_, about) in MEASUREMENTS.items():
            print(f"{name:16} {about}")
        return 0 if len(sys.argv) < 2 else 2
    module = MEASUREMENTS[sys.argv.pop(1)][0]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
