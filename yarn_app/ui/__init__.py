"""What people and scripts see of an application: progress while it starts and runs, events, and the summary at its end.

For `submit`, `cluster` and the command line. Everything for people goes to stderr: stdout belongs to the user's
program.
"""
