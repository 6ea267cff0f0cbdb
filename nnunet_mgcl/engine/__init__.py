"""What every phase runs on: the training loop, loading, context, state, curves and seeds."""
