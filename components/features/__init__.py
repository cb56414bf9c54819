"""Featurization: frames -> one vector per frame."""
