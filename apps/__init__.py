"""The applications of Omnimix, one package a domain.

The packages are imported by the plain names `core` and `apps`; a folder called `core` that lies earlier on the
path would be taken for ours without a word, so that is checked here once.
"""

import importlib.util
from pathlib import Path

_ours = Path(__file__).resolve().parent.parent / "core"
_seen = importlib.util.find_spec("core")
_places = [Path(place).resolve() for place in (_seen.submodule_search_locations or [])] if _seen else []
if _ours.is_dir() and _ours not in _places:
    where = _places[0] if _places else (_seen.origin if _seen else "nothing")
    raise ImportError(
        f"`core` is taken from {where}, which shadows the `core` of omnimix in {_ours}; "
        "rename that folder or start from another directory."
    )
