"""Other ways to the time since stroke: what the paper's Table 4 compares the head with, one file a method."""
