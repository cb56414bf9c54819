"""Readers of labels: what other tools wrote, as `Label`s, and as `Refusal`s what of it cannot be used."""

from components.ingest.labels.common import Box, Found, Label, Refusal, track_id
from components.ingest.labels.read import read_labels

__all__ = ["Box", "Found", "Label", "Refusal", "read_labels", "track_id"]
