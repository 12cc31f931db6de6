"""The training engine: runs a task with a loss to completion.

Read the modules in this order:

- ``launch``: entry point of the training scripts; the run's folder.
- ``loop``: the trainer.
- ``step``: one optimiser step, on one device or many; the `Task` interface.
- ``state``: progress and state of a run at the end of a step.
- ``checkpoints``: checkpoint files, and when they are written.
- ``optimisation``: optimiser, learning rate, moving average.
- ``randomness``: the random generators.
- ``batches``: the `Loader` interface, and the transfer of batches to the device.
- ``record``: log lines, history, TensorBoard, timing.
- ``validation``: scores and contact sheets on real pairs.
"""
