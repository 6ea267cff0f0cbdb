"""Raw scans to an nnU-Net dataset (`mgcl convert`)."""
