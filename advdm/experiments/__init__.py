"""Experiments over many paintings: `evaluate` and `robustness`, whose cells lie on disk, and their tables."""
