"""Benchmarks: `dse bench NAME`. Each module has `run(data=, backbone=, quick=, command=)`, which returns a `Result`."""
