"""From predicted to calibrated probabilities, without a look at the case itself."""
