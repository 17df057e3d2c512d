"""Hadoop's own protocols and files: configuration, NameNode RPC, WebHDFS, records of files and blocks.

For `io.filesystem` and `yarn_app`. Imports no other folder of howdah.
"""
