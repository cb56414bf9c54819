"""Multi-object tracking of what a detector finds frame by frame: boxes in, identities out."""
