"""Classification of frames: labels from annotations, heads on feature vectors, training, metrics, export."""
