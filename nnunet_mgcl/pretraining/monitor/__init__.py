"""Whether a phase learns: samples left out, their neighbours, and warnings."""
