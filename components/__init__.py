"""The stages of Sightline, one folder each, over `tasks` (learning problems) and `core` (the ground floor)."""

import os

# From 1.31 on ONNX Runtime reports to its makers unless it is told not to, before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
