"""From tissue to image."""
