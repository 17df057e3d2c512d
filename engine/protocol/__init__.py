"""The vocabulary of the engine: layers, patterns, scheduler events, and the messages between processes.

Records only; imported by every other folder of the engine and importing none of them. Records are frozen, and a message
decodes to what was encoded or raises.
"""
