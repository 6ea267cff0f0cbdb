"""One file a method: what teaches the U-Nets before `segment` and inside it."""
