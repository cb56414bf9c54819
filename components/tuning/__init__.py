"""Tuning: the training parameters that read `tuned`, searched by Hyperopt."""
