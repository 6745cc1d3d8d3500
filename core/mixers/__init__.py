"""Token mixers, one published mechanism a file.

Every mixer defined in a module of this package is exported here: a new one is one file (and its test file), nothing
else. The contract stands in `core.mixers.base`.
"""

import importlib
import pkgutil

from core.mixers.base import Mixer, auxiliary_loss

__all__ = ["Mixer", "auxiliary_loss"]

for _module in pkgutil.iter_modules(__path__):
    if not _module.name.startswith("goldens"):  # they need what only `omnimix verify` needs
        for _name, _value in list(vars(importlib.import_module(f"{__name__}.{_module.name}")).items()):
            if isinstance(_value, type) and issubclass(_value, Mixer) and _value.__module__.startswith(__name__):
                globals()[_name] = _value
                if _name not in __all__:
                    __all__.append(_name)
