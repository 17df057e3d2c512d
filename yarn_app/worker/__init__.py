"""A worker's container on YARN: from the container's command to the worker's process.

Started by YARN. What goes wrong before the worker starts is reported to the master.
"""
