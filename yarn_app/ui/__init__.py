"""What the command line draws: progress of a submission and the summary of an application.

For `cli` and the notebook's `YarnCluster`. Draws only what it is given.
"""
