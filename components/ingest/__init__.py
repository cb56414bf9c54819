"""Ingest: a source of footage -> the tables catalog, annotations and refused."""
