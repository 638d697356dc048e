"""Files, tensors, paths, locks, rules, random streams, devices and plot style."""
