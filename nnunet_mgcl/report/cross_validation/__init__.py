"""The sections about all folds of a model."""
