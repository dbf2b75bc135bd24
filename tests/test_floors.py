"""Imports point down, and outside libraries stay home: the table of floors, kept true over the syntax tree.

Every import counts, wherever in a file it stands; only an import under `if TYPE_CHECKING` or inside a function cannot
close a cycle. A fault names the file, the line and the import.
"""

import ast
import graphlib
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("nicsim", "offload_oids")


@dataclass(frozen=True)
class Part:
    """A package or module with a place of its own: it may import itself, the floors below, and `also`."""

    floor: int
    also: tuple[str, ...] = ()
    # The highest floor it may import, where that is not the one directly below.
    up_to: int | None = None


# fmt: off
PARTS: dict[str, Part] = {
    "offload_oids":        Part(0),
    "nicsim":              Part(0),  # its own __init__.py only
    "nicsim.reasons":      Part(1),
    "nicsim.rules":        Part(1, up_to=-1),
    "nicsim.errors":       Part(1, also=("nicsim.reasons",)),
    "nicsim.files":        Part(1, up_to=-1, also=("nicsim.errors",)),
    "nicsim.wire":         Part(1, up_to=-1, also=("nicsim.errors",)),
    "nicsim.ipsec":        Part(2),
    "nicsim.events":       Part(2, also=("nicsim.ipsec",)),
    "nicsim.capabilities": Part(2),
    "nicsim.boundary":     Part(2, also=("nicsim.capabilities",)),
    "nicsim.holdings":     Part(2, also=("nicsim.boundary", "nicsim.events", "nicsim.ipsec")),
    "nicsim.card":         Part(3),  # these four are neighbours that meet at the boundaries only
    "nicsim.driver":       Part(3),
    "nicsim.ndis":         Part(3),
    "nicsim.host":         Part(3),
    "nicsim.profile":      Part(4),
    "nicsim.profiles":     Part(4, also=("nicsim.profile",)),
    "nicsim.network":      Part(4),
    "nicsim.impairments":  Part(4),
    "nicsim.nic":          Part(4, also=("nicsim.profile", "nicsim.profiles", "nicsim.impairments")),
    "nicsim.scenario":     Part(5),
    "nicsim.replay":       Part(5),
    "nicsim.conformance":  Part(5),
    "nicsim.lessons":      Part(5),
    "nicsim.panel":        Part(5),
    "nicsim.connect":      Part(5),
    "nicsim.report":       Part(6, up_to=2, also=(
        "nicsim.replay.results", "nicsim.scenario.results", "nicsim.panel.claims", "nicsim.panel.decode",
        "nicsim.panel.answers", "nicsim.connect.results",
    )),
    "nicsim.cli":          Part(7),
    "nicsim.__main__":     Part(7, also=("nicsim.cli",)),
}

HOMES: dict[str, tuple[str, ...]] = {
    "cryptography": ("nicsim.ipsec.transforms", "nicsim.host.ike"),
    "pydantic":     ("nicsim.replay", "nicsim.profile", "nicsim.scenario"),
    "numpy":        ("nicsim.card.burst", "nicsim.wire.pcap"),
    "rich":         ("nicsim.report",),
    "jinja2":       ("nicsim.report",),
    "typer":        ("nicsim.cli",),
    "cffi":         ("nicsim.conformance",),
    # scapy has none: it is a peer of the tests.
}
# fmt: on


@dataclass(frozen=True)
class Import:
    """One imported module, by its full name, and whether it runs when the importing module is imported."""

    target: str
    line: int
    at_once: bool


def faults(sources: dict[str, str]) -> list[str]:
    """Every import that breaks the table; `sources` are texts by path, like "nicsim/wire/esp.py"."""
    modules = {_module_name(path): path for path in sources}
    imports = {module: list(_imports(module, sources[path], path, set(modules))) for module, path in modules.items()}
    found = []
    for module, path in modules.items():
        if _part(module) is None:
            found.append(f"{path}:1: {module} is in no part of the table of floors")
            continue
        for one in imports[module]:
            if reason := _refusal(module, one.target):
                found.append(f"{path}:{one.line}: imports {one.target}: {reason}")
    return sorted(found) + _cycle(imports)


def _module_name(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _imports(module: str, source: str, path: str, modules: set[str]) -> Iterator[Import]:
    package = module if path.endswith("__init__.py") else module.rpartition(".")[0]
    pending: list[tuple[ast.AST, bool]] = [(ast.parse(source, path), True)]
    while pending:
        node, at_once = pending.pop()
        match node:
            case ast.Import(names=names):
                yield from (Import(name.name, node.lineno, at_once) for name in names)
            case ast.ImportFrom(module=base, names=names, level=level):
                if level:
                    above = package.split(".")[: len(package.split(".")) - level + 1]
                    base = ".".join([*above, *([base] if base else [])])
                for name in names:  # each may be a module of the package or a name inside it
                    inner = f"{base}.{name.name}"
                    yield Import(inner if inner in modules else str(base), node.lineno, at_once)
            case ast.Call(
                func=ast.Name(id="__import__" | "import_module") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(target)), *_],
            ):
                yield Import(target, node.lineno, at_once)
        deferred = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or _type_checking(node)
        pending += [(child, at_once and not deferred) for child in ast.iter_child_nodes(node)]


def _type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def _within(module: str, home: str) -> bool:
    return module == home or module.startswith(home + ".")


def _part(module: str) -> str | None:
    if module == "nicsim":
        return module
    return next((part for part in PARTS if part != "nicsim" and _within(module, part)), None)


def _refusal(module: str, target: str) -> str | None:
    library = target.partition(".")[0]
    if library in sys.stdlib_module_names:
        return None
    if library not in PACKAGES:
        homes = HOMES.get(library, ())
        if any(_within(module, home) for home in homes):
            return None
        return f"{library} is at home in {' and '.join(homes)} only" if homes else f"{library} has no home here"
    mine, other = _part(module), _part(target)
    if mine is None or other is None:
        return "it is in no part of the table of floors"
    part = PARTS[mine]
    if mine == other or any(_within(target, allowed) for allowed in part.also):
        return None
    highest = part.floor - 1 if part.up_to is None else part.up_to
    if PARTS[other].floor <= highest:
        return None
    return f"{mine} (floor {part.floor}) may not import {other} (floor {PARTS[other].floor})"


def _cycle(imports: dict[str, list[Import]]) -> list[str]:
    """The first cycle among the imports that run at once, if there is one."""
    graph: dict[str, set[str]] = {}
    for module, own in imports.items():
        needed = graph.setdefault(module, set())
        for one in own:
            if not one.at_once:
                continue
            # Importing a.b.c runs a and a.b first, unless the importing module is inside them and they run already.
            parts = one.target.split(".")
            packages = [".".join(parts[:length]) for length in range(1, len(parts))]
            needed |= {package for package in packages if not _within(module, package)} | {one.target}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        # graphlib lists each module before those that import it.
        return [f"imports in a circle: {' imports '.join(reversed(error.args[1]))}"]
    return []


def project_sources() -> dict[str, str]:
    """Every Python file of the packages."""
    files = (file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
    return {file.relative_to(ROOT).as_posix(): file.read_text() for file in files}


def test_imports_point_down_and_libraries_stay_home() -> None:
    found = faults(project_sources())
    assert not found, "\n" + "\n".join(found)


def test_the_checker_sees_every_file_of_every_package_that_is_shipped() -> None:
    shipped = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert sorted(shipped["packages"]) == sorted(PACKAGES)
    sources = project_sources()
    on_disk = {path.as_posix() for package in PACKAGES for path in Path(ROOT / package).glob("**/*.py")}
    assert {(ROOT / path).as_posix() for path in sources} == on_disk
    assert "nicsim/errors.py" in sources
    # A bad import put into any one of them is found there.
    spoiled = {path: f"{source}\nimport scapy\n" for path, source in sources.items()}
    assert {fault.partition(":")[0] for fault in faults(spoiled) if "scapy" in fault} == set(sources)


@pytest.mark.parametrize(
    ("path", "source", "fault"),
    [
        ("nicsim/wire/a.py", "import nicsim.card", "nicsim.wire (floor 1) may not import nicsim.card (floor 3)"),
        ("nicsim/wire/a.py", "from offload_oids import x", "nicsim.wire (floor 1) may not import offload_oids"),
        ("nicsim/wire/a.py", "from nicsim import reasons", "nicsim.wire (floor 1) may not import nicsim.reasons"),
        ("nicsim/errors.py", "import nicsim.events", "nicsim.errors (floor 1) may not import nicsim.events (floor 2)"),
        ("nicsim/reasons.py", "from . import wire", "nicsim.reasons (floor 1) may not import nicsim.wire (floor 1)"),
        ("nicsim/card/rows.py", "from ..host import x", "nicsim.card (floor 3) may not import nicsim.host (floor 3)"),
        ("nicsim/card/__init__.py", "from ..ndis import x", "nicsim.card (floor 3) may not import nicsim.ndis"),
        ("nicsim/host/ike/a.py", "def f():\n import nicsim.driver.b", "a.py:2: imports nicsim.driver.b: nicsim.host"),
        ("nicsim/host/a.py", "if TYPE_CHECKING:\n from nicsim import nic", "nicsim.host (floor 3) may not import nics"),
        (
            "nicsim/panel/a.py",
            "import nicsim.replay.sas",
            "nicsim.panel (floor 5) may not import nicsim.replay (floor 5)",
        ),
        ("nicsim/report/a.py", "import nicsim.panel.session", "nicsim.report (floor 6) may not import nicsim.panel"),
        ("nicsim/replay/a.py", "import nicsim.lessons", "nicsim.replay (floor 5) may not import nicsim.lessons"),
        ("nicsim/report/a.py", "import nicsim.replay.player", "nicsim.report (floor 6) may not import nicsim.replay"),
        ("nicsim/report/a.py", "import nicsim.card", "nicsim.report (floor 6) may not import nicsim.card (floor 3)"),
        ("nicsim/wire/a.py", "import importlib as i\ni.import_module('nicsim.cli')", "nicsim.wire (floor 1) may not"),
        (
            "nicsim/card/rows.py",
            "import numpy as np",
            "imports numpy: numpy is at home in nicsim.card.burst and nicsim.",
        ),
        ("nicsim/wire/pcapng.py", "import numpy", "numpy is at home in nicsim.card.burst and nicsim.wire.pcap only"),
        ("nicsim/ipsec/esp.py", "from cryptography.x import y", "cryptography is at home in nicsim.ipsec.transforms"),
        ("nicsim/cli/a.py", "import scapy.all", "scapy has no home here"),
        ("offload_oids/a.py", "import numpy", "numpy is at home"),
        ("offload_oids/a.py", "import nicsim", "offload_oids (floor 0) may not import nicsim (floor 0)"),
        ("nicsim/__init__.py", "from .wire import x", "nicsim (floor 0) may not import nicsim.wire (floor 1)"),
        ("nicsim/brandnew.py", "", "brandnew.py:1: nicsim.brandnew is in no part of the table of floors"),
        ("nicsim/cli/a.py", "import nicsim.brandnew", "it is in no part of the table of floors"),
    ],
)
def test_a_wrong_import_is_found_and_named(path: str, source: str, fault: str) -> None:
    below = dict.fromkeys(("nicsim/wire/__init__.py", "nicsim/reasons.py", "nicsim/nic.py"), "")
    found = faults(below | {path: source})
    assert len(found) == 1
    assert path.rpartition("/")[2] in found[0]
    assert fault in found[0]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("nicsim/cli/a.py", "import typer, json\nfrom nicsim import card, report\nimport nicsim.replay.player"),
        ("nicsim/report/a.py", "from nicsim.replay.results import x\nimport rich.table, nicsim.boundary"),
        ("nicsim/host/ike/a.py", "from cryptography import x509\nfrom .b import c\nfrom ..d import e"),
        ("nicsim/wire/pcap.py", "import numpy\nfrom nicsim.errors import CaptureError"),
        ("nicsim/__main__.py", "from nicsim.cli import main"),
    ],
)
def test_a_right_import_is_let_through(path: str, source: str) -> None:
    assert faults({path: source}) == []


def test_a_circle_of_imports_is_found() -> None:
    a, b, package = "nicsim/wire/a.py", "nicsim/wire/b.py", "nicsim/wire/__init__.py"
    circle = ["imports in a circle: nicsim.wire.a imports nicsim.wire.b imports nicsim.wire.a"]
    turned = ["imports in a circle: nicsim.wire.b imports nicsim.wire.a imports nicsim.wire.b"]
    assert faults({a: "from . import b", b: "from nicsim.wire.a import x"}) in (circle, turned)
    assert len(faults({package: "from nicsim.wire.a import x", a: "from nicsim.wire import x"})) == 1
    assert faults({a: "from . import b", b: "def f():\n    from nicsim.wire.a import x"}) == []
    assert faults({a: "from . import b", b: "if TYPE_CHECKING:\n    from nicsim.wire.a import x"}) == []
    assert faults({package: "from nicsim.wire import a", a: "from . import b", b: ""}) == []
