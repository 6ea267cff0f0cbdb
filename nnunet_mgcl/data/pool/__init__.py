"""The unlabelled pool: found, preprocessed, noted in a manifest, kept apart from validation cases."""
