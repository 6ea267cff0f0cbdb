"""The branches, their fusion, the projection heads and the TSS heads."""
