"""Certificates and roles: the identity of a peer, proved before a byte of it is used.

For the other folders of `comm`, for processes that load their identity, and for clusters that create an authority.
"""
