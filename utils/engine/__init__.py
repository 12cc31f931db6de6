"""The training engine: everything between a task with a loss and a finished run.

To be read in this order:

- ``launch``: from options to a finished run; the run's folder.
- ``loop``: the trainer.
- ``step``: one optimiser step, on one device or many; what a task is.
- ``state``: what a run is at the end of a step.
- ``checkpoints``: the files that hold it, and when they are written.
- ``optimisation``: optimiser, learning rate, moving average.
- ``randomness``: the generators of all draws.
- ``batches``: what a loader is, and the way of its batches to the device.
- ``record``: log lines, history, TensorBoard, timing.
- ``validation``: scores and contact sheets on real pairs.
"""
