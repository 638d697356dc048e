"""Files, tensors, paths, locks, rules, random streams, devices, processes and plot style."""
