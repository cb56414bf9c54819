"""What spark-submit runs: a stage's shell by its name, as `python -m components.STAGE` would."""

import runpy
import sys

if __name__ == "__main__":
    stage = sys.argv.pop(1)
    runpy.run_module(f"components.{stage}", run_name="__main__", alter_sys=True)
