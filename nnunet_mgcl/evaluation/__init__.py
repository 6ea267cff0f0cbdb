"""Numbers of trained models: a run is read, measured, summed up and written."""
