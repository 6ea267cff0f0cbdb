"""The trainers: orchestration of the phases inside nnU-Net's own life cycle."""
