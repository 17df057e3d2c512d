"""Values to bytes and back: pickles with out-of-band buffers, references to inputs, exceptions, remote calls.

For worker and client; the scheduler uses none of it. It unpickles only what the caller has authenticated.
"""
