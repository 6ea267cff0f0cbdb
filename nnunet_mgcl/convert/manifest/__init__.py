"""The manifest: which scan is what of whom, and what is asked of it."""
