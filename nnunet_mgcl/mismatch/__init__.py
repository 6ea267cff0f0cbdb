"""The clinical baseline: DWI-FLAIR and perfusion-diffusion mismatch, measured on one case."""
