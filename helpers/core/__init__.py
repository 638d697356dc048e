"""Files, tensors, paths, locks, random streams, devices, processes and plot style."""
