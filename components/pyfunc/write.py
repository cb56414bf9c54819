"""Writes an MLflow model of a published bundle: the bundle, the code that it needs, what MLflow wants to know of it."""

import base64
import logging
import os
import shutil
import tempfile
from importlib.metadata import version as installed
from pathlib import Path

os.environ.setdefault("MLFLOW_UV_AUTO_DETECT", "false")  # it would take the project's lock file for the model's

import mlflow.pyfunc  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from mlflow.models import ModelSignature  # noqa: E402
from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema  # noqa: E402

from components.core.bundle import Bundle, Pointer, read_bundle, write_pointer  # noqa: E402
from components.core.media import encode_jpeg  # noqa: E402
from components.pyfunc import code, loader  # noqa: E402
from components.serving.pictures import LEAST  # noqa: E402

REQUIRED = ("av", "mlflow", "numpy", "onnxruntime", "opencv-python-headless", "pandas", "pillow", "starlette")
REQUIRED_TO_TRACK = ("pydantic", "pyyaml", "scipy")
COLUMN = "picture"


def write_model(deployed: Path, pointer: Pointer, folder: Path) -> None:
    """Writes the MLflow model of the published bundle that a pointer names to an empty folder.

    Nothing in it is pickled. Raises SightlineError where the bundle is damaged.
    """
    bundle = read_bundle(deployed / pointer.folder)
    with tempfile.TemporaryDirectory() as temporary:
        data = Path(temporary) / "bundle"
        shutil.copytree(deployed / pointer.folder, data / pointer.folder, copy_function=shutil.copyfile)
        write_pointer(data, pointer)
        _quietly(
            path=folder, loader_module=loader.__name__, data_path=data, code_paths=[_code(Path(temporary))],
            pip_requirements=requirements(bundle), signature=signature(bundle), input_example=example(),
            metadata={"recipe": bundle.recipe, "version": pointer.version, "digest": pointer.digest},
        )  # fmt: skip


def requirements(bundle: Bundle) -> list[str]:
    """What has to be installed where the model is loaded, in the versions that are installed here."""
    names = REQUIRED + (REQUIRED_TO_TRACK if bundle.tracks else ())
    return [f"{name}=={installed(name)}" for name in names]


def signature(bundle: Bundle) -> ModelSignature:
    """The outputs and parameters. The inputs are left open: MLflow has no type for a picture in each of its forms, and
    with a table's column for one it refuses arrays before the model sees them."""
    outputs = Schema([ColSpec(kind, name) for name, kind in loader.columns(bundle.classes, bundle.finds_boxes).items()])
    if not bundle.finds_boxes:
        return ModelSignature(outputs=outputs)
    return ModelSignature(outputs=outputs, params=ParamSchema([ParamSpec(LEAST, "double", bundle.box_threshold)]))


def example() -> pd.DataFrame:
    """A table of one picture in base64, as a client of a server sends it."""
    ramp = np.linspace(0, 255, 64).astype(np.uint8)
    rgb = np.stack(np.broadcast_arrays(ramp[:48, None], ramp[None], np.uint8(96)), axis=-1)
    return pd.DataFrame({COLUMN: [base64.b64encode(encode_jpeg(rgb, 90)).decode()]})


def _code(folder: Path) -> Path:
    """Copies the modules that the loader needs; returns their package."""
    for file in code.needed(loader.__name__):
        target = folder / "code" / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(code.ROOT / file, target)
    return folder / "code" / code.PACKAGE


def _quietly(**given: object) -> None:
    """Has MLflow save a model, without its advice."""
    logger = logging.getLogger("mlflow")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        mlflow.pyfunc.save_model(**given)
    finally:
        logger.setLevel(before)
