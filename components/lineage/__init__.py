"""Lineage asked from either end: from a version or a prediction to its source files, from a file to its models."""
