"""The model on the held-out assets: metrics, curves, predictions, ranked moments, and a report to look at."""
