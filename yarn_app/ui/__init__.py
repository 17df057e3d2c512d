"""What users and scripts see of an application: progress while it starts and runs, events, and the summary at its end.

For `submit`, `cluster` and the command line. Everything for users goes to stderr: stdout belongs to the user's
program.
"""
