"""The bytes of results between workers and clients: bulk connections, compression, encryption, shared memory.

For worker and client. A transfer arrives whole or raises; memory is preallocated, and large buffers are not copied on
the way.
"""
