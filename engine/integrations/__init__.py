"""Other libraries' interfaces on howdah: `concurrent.futures` and joblib.

For users. Each module adapts one library's interface to a client and contains no scheduling. Modules that need a
library which howdah does not depend on are imported only when that library is.
"""
