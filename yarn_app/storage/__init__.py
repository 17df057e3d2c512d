"""What an application keeps in HDFS: its staging folder, howdah's own code, and the journal.

For `submit`, `master` and `worker`. Everything is in one folder that the end of the application removes.
"""
