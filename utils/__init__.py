"""The workshop: training loop, checkpoints, files, logs and plots. Knows no model and no data set."""
