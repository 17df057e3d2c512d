"""Hadoop's own protocols and files: configuration, RPC with its authentication, REST, and records of files and blocks.

For `io.filesystem` and `yarn_app`. It promises to import no other folder of howdah, and to be the one place where
Hadoop RPC (`rpc`, `sasl`) and HTTP (`rest`) authenticate.
"""
