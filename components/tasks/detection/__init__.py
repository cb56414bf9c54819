"""Detection of objects: boxes from annotations, two kinds of detector on any backbone, training, metrics, export."""
