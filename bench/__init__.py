"""Reproducible benchmarks: every figure is a median over alternating runs, beside a peer measured in the same run."""
