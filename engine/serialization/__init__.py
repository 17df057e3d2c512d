"""Values to bytes and back: pickles with out-of-band buffers, references to results, exceptions.

For worker and client; the scheduler uses none of it. Nothing is opened here that the caller has not authenticated.
"""
