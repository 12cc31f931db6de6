"""The training engine: everything between a task with a loss and a finished run."""
