"""Deployment: from a model to a bundle that the service loads, and the pointer that says which one it serves."""
