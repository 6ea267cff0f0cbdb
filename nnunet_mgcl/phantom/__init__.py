"""Synthetic stroke patients, so that everything can be tried without data."""
