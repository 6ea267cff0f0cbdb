"""One file a phase of the cascade, over the small protocol in `protocol.py`."""
