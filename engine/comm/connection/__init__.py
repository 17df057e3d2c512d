"""Connections that carry messages: addresses, greeting, channels, and sessions that survive a broken connection.

For scheduler, worker and client. Messages of a session arrive once and in order as long as both ends live, and every
wait ends when the connection does.
"""
