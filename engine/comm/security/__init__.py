"""Certificates and roles: who a peer is, proved before a byte of it is used.

For the other folders of `comm` and for clusters that create an authority. Imports nothing else of `comm`.
"""
