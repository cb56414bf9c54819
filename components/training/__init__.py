"""Training: the final model, by Horovod."""
