"""The application master: supervises scheduler and driver program, requests workers, and reports the end to YARN.

Runs in the first container of an application. It promises an end: every failure is reported with its reason, and
nothing is left in YARN or HDFS.
"""
