"""Proofs while writers write, and controls: what is damaged must be found, and nothing else."""
