"""Prediction: nnU-Net's segmentations and the TSS in one pass."""
