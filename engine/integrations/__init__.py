"""Other libraries' interfaces on howdah: `concurrent.futures` and joblib.

For users. Each module adapts one library's interface to a `Client` and holds no logic of scheduling.
"""
