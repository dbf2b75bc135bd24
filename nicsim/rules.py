"""The rules of the specification digest by their ids, for who has no `docs/spec` at hand.

`rules.json` holds each rule as `docs/spec/ndis-ipsec-offload.md` states it; a test keeps the two equal.

Read by `nicsim why`.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources


@cache
def rule_texts() -> dict[str, str]:
    """Every rule's text by its id (`N-ADD-3`, `A-7`), in the order of the digest."""
    texts: dict[str, str] = json.loads((resources.files("nicsim") / "rules.json").read_text(encoding="utf-8"))
    return texts
