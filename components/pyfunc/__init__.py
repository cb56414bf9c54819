"""The bundle as MLflow's `python_function` model: a folder that loads wherever MLflow and ONNX Runtime are."""
