"""The facts of the interpreter that runs this file. Its text also runs inside another environment's Python.

So it uses nothing but the standard library, of any Python 3. Called by `interpreter`.
"""

from __future__ import annotations

import importlib.util
import os
import site
import sys
import sysconfig


def interpreter_facts() -> dict[str, object]:
    """Return facts about the interpreter that runs this, as JSON values."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    pure = sysconfig.get_path("purelib")
    sites = [pure, sysconfig.get_path("platlib"), *site.getsitepackages()]
    if site.ENABLE_USER_SITE:
        sites.insert(0, site.getusersitepackages())
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
        mapped = {line.split(None, 5)[5].strip() for line in maps if "libpython" in line}
    stdlib = os.path.dirname(os.path.realpath(os.__file__))
    dynload = [p for p in sys.path if os.path.basename(p) == "lib-dynload" and os.path.isdir(p)]
    seen: dict[str, str] = {}
    for path in sites:
        if os.path.isdir(path) and path in sys.path:
            seen.setdefault(os.path.realpath(path), path)
    return {
        "version": ".".join(map(str, sys.version_info[:3])),
        "short": version + getattr(sys, "abiflags", ""),
        "build": sys.version,
        "implementation": sys.implementation.name,
        "cache_tag": sys.implementation.cache_tag or "",
        "magic": importlib.util.MAGIC_NUMBER.hex(),
        "soabi": str(sysconfig.get_config_var("SOABI") or ""),
        "platform": sysconfig.get_platform(),
        "glibc": (os.confstr("CS_GNU_LIBC_VERSION") or "") if "CS_GNU_LIBC_VERSION" in os.confstr_names else "",
        "prefix": sys.prefix,
        "base_prefix": sys.base_prefix,
        "executable": os.path.realpath("/proc/self/exe"),
        "libpython": min(mapped) if mapped else "",
        "stdlib": stdlib,
        "dynload": os.path.realpath(dynload[0]) if dynload else "",
        "platlibdir": getattr(sys, "platlibdir", "lib"),
        "sites": list(seen),
        "dist_packages": any(os.path.basename(p) == "dist-packages" for p in site.getsitepackages()),
    }
