"""The step with which a work pool's worker begins a run, named in prefect.yaml."""

import os

from components.core import paths


def enter_workspace() -> dict[str, str]:
    """Goes to the worker's own workspace, SIGHTLINE_WORKSPACE. Raises SightlineError where it is not set.

    (Prefect's own step would go to that of whoever deployed: it fills in environment variables at once.)
    """
    root = str(paths.workspace())
    os.chdir(root)
    return {"directory": root}
