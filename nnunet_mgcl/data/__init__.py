"""Everything that is read from or written to nnU-Net's folders before training."""
