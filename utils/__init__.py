"""Shared tools: picture files, training engine, checkpoints, logs and plots. Independent of models and data sets."""
