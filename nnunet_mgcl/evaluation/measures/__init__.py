"""One case, or one set of probabilities, to numbers."""
