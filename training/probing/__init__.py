"""Probes of frozen encoders: vectors of clips, k-NN and small classifiers on them, and their comparison."""
