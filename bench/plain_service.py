"""The handler that most would write: FastAPI and torch. `python -m bench.plain_service PORT`, in a workspace.

A peer of `bench.serving`, with the same model and the same answer.
"""

import io
import sys

import numpy as np
import torch
import uvicorn
from fastapi import FastAPI, Request
from PIL import Image

from components.core import paths
from components.core.recipe import load_recipe
from components.tasks.classification.export import scorer
from components.tasks.classification.model import load_model

recipe = load_recipe("suspicious")
model = scorer(recipe.features, load_model(paths.data(recipe.name, "model")))
height, width = recipe.features.size
app = FastAPI()


@app.post("/predict")
async def predict(request: Request) -> dict:
    """The probabilities of a picture's classes."""
    picture = Image.open(io.BytesIO(await request.body())).convert("RGB").resize((width, height))
    with torch.inference_mode():
        probabilities = model(torch.from_numpy(np.array(picture))[None, None])[0, 0]
    return dict(zip(recipe.task.classes, probabilities.tolist(), strict=True))


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_level="warning")
