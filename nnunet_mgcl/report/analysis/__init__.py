"""The sections that look into the networks of one fold."""
