"""Write nicsim/rules.json from the specification digest: python -m tests.cli.rules_json"""

from __future__ import annotations

import json
import re

from tests.rules import DIGEST, ROOT

RULES_JSON = ROOT / "nicsim" / "rules.json"
# A rule is one item of a list; what is indented below it belongs to it.
_ITEM = re.compile(r"^- \*\*(N-[A-Z0-9]+-[0-9]+|A-[0-9]+)(.*(?:\n[ \t]+\S.*)*)", re.MULTILINE)


def rules_of(digest: str) -> dict[str, str]:
    """Every rule's text by its id, as plain words: no marks of bold or code, page titles in quotes."""
    return {rule: _plain(text) for rule, text in _ITEM.findall(digest)}


def _plain(text: str) -> str:
    words = " ".join(text.split()).replace("**", "").replace("`", "")
    return re.sub(r"(?<![\w*])\*(\S[^*]*?)\*(?![\w*])", r'"\1"', words).strip()


def rules_json() -> str:
    """What the file has to hold."""
    return json.dumps(rules_of(DIGEST.read_text(encoding="utf-8")), indent=0, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    RULES_JSON.write_text(rules_json(), encoding="utf-8")
