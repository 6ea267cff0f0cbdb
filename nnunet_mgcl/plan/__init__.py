"""What is to be trained: nnU-Net's plans and dataset.json, the `mgcl` block in them, presets, memory."""
