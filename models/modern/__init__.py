"""The recommender `modern`, on frozen picture features: model, batches, settings, training."""
