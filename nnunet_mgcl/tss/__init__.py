"""The heads that classify the time since stroke: training, volumes, probability of a case."""
