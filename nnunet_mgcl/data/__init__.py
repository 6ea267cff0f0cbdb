"""Everything that is read from disk before and while training."""
