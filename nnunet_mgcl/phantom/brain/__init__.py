"""The head of a synthetic patient."""
