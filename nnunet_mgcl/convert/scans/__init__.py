"""Scans on disk, from whatever source, as clean images."""
