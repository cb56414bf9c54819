"""The model service. Knows bundles and nothing of how they came about, so that its image stays small."""
