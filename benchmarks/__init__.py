"""How fast it is (`bench_*.py`, run by path), and whether it gets better (`python -m benchmarks.stream`)."""
