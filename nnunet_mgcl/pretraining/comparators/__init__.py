"""The methods of the field that MGCL is compared with, one a file; none is of the paper. Sources: docs/methods.md."""
