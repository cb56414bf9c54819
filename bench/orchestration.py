"""What the flow costs over its stages: the same recipe as nine bare commands, as a flow, and once more unchanged.

`python -m bench orchestration` works in a clone of the project's last commit, offline and with no server running: each
flow brings its own. The aim: bare commands + 10 % + 10 s, and under 15 s where nothing changed.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

PROJECT = Path(__file__).resolve().parents[1]


def clone(root: Path, recipe: str, changes: dict[str, dict] | None = None) -> Path:
    """The project's last commit as a workspace of its own with that one recipe, its sections changed so."""
    subprocess.run(["git", "clone", "-q", str(PROJECT), str(root)], check=True)
    file = root / "params.yaml"
    body = yaml.safe_load(file.read_text())["recipes"][recipe]
    for section, keys in (changes or {}).items():
        body[section] |= keys
    file.write_text(yaml.safe_dump({"recipes": {recipe: body}, "explained": []}, sort_keys=False))
    return root


def environment(root: Path, **more: str) -> dict[str, str]:
    """Of commands in a workspace: this interpreter first, nothing that names another place."""
    kept = {
        key: value for key, value in os.environ.items() if not key.startswith(("SIGHTLINE_", "PREFECT_", "MLFLOW_"))
    }
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return kept | {"PATH": path, "PYTHONPATH": str(root), "SIGHTLINE_WORKSPACE": str(root), **more}


def timed(root: Path, *command: str, **more: str) -> tuple[float, str]:
    """(seconds that the command took, what it printed); ends the measurement where it failed. `more`: environment."""
    began = time.monotonic()
    env = environment(root, **more)
    done = subprocess.run([sys.executable, *command], cwd=root, env=env, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: exit {done.returncode}\n{done.stderr[-3000:]}")
    return time.monotonic() - began, done.stdout


def measure(root: Path, recipe: str) -> dict:
    """Seconds of each way, in the same clone with everything that was made removed in between."""
    stages = [name.partition("@")[0] for name in _stages(root, recipe)]
    bare = {stage: timed(root, "-m", f"components.{stage}", "--recipe", recipe)[0] for stage in stages}
    for made in ("data", ".sightline"):
        shutil.rmtree(root / made)
    flow, said = timed(root, "-m", "flows.cli", "run", recipe, "--json")
    again, unchanged = timed(root, "-m", "flows.cli", "run", recipe, "--json")
    if not json.loads(unchanged)["message"].startswith("nothing changed"):
        raise SystemExit(f"the second run was to find nothing changed: {unchanged}")
    total = sum(bare.values())
    return {
        "recipe": recipe,
        "cores": os.cpu_count(),
        "bare_s": round(total, 1),
        "bare_by_stage": {stage: round(seconds, 1) for stage, seconds in bare.items()},
        "flow_s": round(flow, 1),
        "flow_by_stage": {row["stage"].partition("@")[0]: row["seconds"] for row in json.loads(said)["stages"]},
        "overhead_s": round(flow - total, 1),
        "bound_s": round(0.1 * total + 10, 1),
        "unchanged_s": round(again, 1),
    }


def _stages(root: Path, recipe: str) -> list[str]:
    code = "import sys; from flows.graph import read_graph; print(*(node.name for node in read_graph(sys.argv[1])))"
    return timed(root, "-c", code, recipe)[1].split()


def main() -> int:
    """Runs the measurement; prints it, or JSON where `--json` asks for it."""
    parser = argparse.ArgumentParser(prog="python -m bench orchestration", description=__doc__.split("\n\n")[0])
    parser.add_argument("--recipe", default="suspicious")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(clone(Path(folder) / "workspace", arguments.recipe), arguments.recipe)
    if arguments.json:
        print(json.dumps(found, indent=2))
        return 0
    print(f"{found['recipe']} on {found['cores']} cores")
    for stage, seconds in found["bare_by_stage"].items():
        print(f"  {stage:12} bare {seconds:6.1f} s   in the flow {found['flow_by_stage'][stage]:6.1f} s")
    held = "held" if found["overhead_s"] <= found["bound_s"] else "NOT HELD"
    print(
        f"bare commands {found['bare_s']} s, flow {found['flow_s']} s: {found['overhead_s']:+} s, the bound is", end=""
    )
    print(f" 10 % + 10 s = {found['bound_s']} s: {held}")
    print(f"nothing changed: {found['unchanged_s']} s (aim 15): {'held' if found['unchanged_s'] < 15 else 'NOT HELD'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
