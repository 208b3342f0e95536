"""Compile what the supervisor imports, without docstrings: run once, as `python -OO`, when the image is built."""

import pkgutil
import py_compile
import sys
from importlib import import_module

from backup_agent import supervisor

for found in pkgutil.iter_modules(supervisor.__path__, f"{supervisor.__name__}."):
    import_module(found.name)
for module in list(sys.modules.values()):
    source = getattr(module, "__file__", None) or ""
    if source.endswith(".py") and module.__name__ != "__main__":
        py_compile.compile(
            source, doraise=True, optimize=2, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
        )
