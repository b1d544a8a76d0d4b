"""The steps of scripts/bench_gpu.py. They need Python's own library alone: the machine may have nothing else."""
