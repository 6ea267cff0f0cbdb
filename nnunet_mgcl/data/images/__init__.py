"""What is measured on, or checked of, one image."""
