"""The ground: errors, files, locks, processes, devices, versions. It knows nothing of data or of training."""
