"""What this project does on a GPU, in one command of a few minutes: `sh benchmarks/gpu.sh`."""
