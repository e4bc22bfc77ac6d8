"""The house, checked: who may import whom, how big a file is, what must be said.

Source files are parsed, never imported. The table is that of ARCHITECTURE.md;
a package that does not exist yet has no modules and hence no cases. The checks
themselves are functions from text to complaints and are tried on planted
faults at the end of this file, so that none of them can pass by accident.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src"
PACKAGE = SOURCE / "calico"
UNIT_TESTS = ROOT / "tests" / "unit"

MAX_LINES = 400

# Below the line: functions from values to values.
CORE: dict[str, frozenset[str]] = {
    "netset": frozenset(),
    "model": frozenset({"netset"}),
    "codec": frozenset({"model", "netset"}),
    "ir": frozenset({"model", "netset"}),
    "compiler": frozenset({"ir", "model", "netset"}),
    "verdict": frozenset({"ir", "model", "netset"}),
    "analysis": frozenset({"verdict", "ir", "model", "netset"}),
    "render": frozenset({"ir", "model", "netset"}),
}

# Above the line: processes, threads, files, sockets.
SHELL: dict[str, frozenset[str]] = {
    "settings": frozenset({"model"}),
    "control": frozenset({"model", "settings"}),
    "store": frozenset({"codec", "model", "settings"}),
    "ipam": frozenset({"store", "codec", "model", "netset", "settings"}),
    "linux": frozenset({"render", "ir", "model", "netset", "settings"}),
    "attach": frozenset(
        {"ipam", "linux", "store", "codec", "model", "netset", "settings", "control"}
    ),
    "agent": frozenset(
        {"compiler", "render", "linux", "store", "ipam", "ir", "model", "verdict"}
        | {"netset", "settings", "control"}
    ),
    "node": frozenset({"linux", "model", "settings", "control"}),
    "plugins": frozenset({"attach", "codec", "store", "model", "settings", "control"}),
    "lab": frozenset(
        {"attach", "linux", "store", "model", "netset", "settings", "control"}
    ),
}
SHELL["cli"] = frozenset(CORE) | frozenset(SHELL)

MAY_IMPORT = CORE | SHELL

# Of these `cli` sees the package and nothing inside it.
CLOSED_TO_CLI = frozenset({"agent", "render"})

BANNED_IN_CORE = {
    "asyncio": "the core waits for nothing; one thread owns all state",
    "logging": "nothing in the core logs: a value that matters is returned",
    "os": "the core touches neither files nor the environment: pass settings in",
    "random": "same input, same output: pass a seed in",
    "socket": "the core opens nothing: addresses are `ipaddress` values",
    "subprocess": "the core runs nothing: return what should be done",
    "time": "the core has no clock: pass `now` in",
}

MODULES = sorted(PACKAGE.rglob("*.py"))
CORE_MODULES = [path for path in MODULES if path.relative_to(PACKAGE).parts[0] in CORE]


def _name(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def _room(path: Path) -> str:
    """Name the package of the table that `path` belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and dotted name of everything imported, at any depth.

    `from a.b import c` yields `a.b.c`: whether `c` is a module is for the
    caller to know.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield node.lineno, f"{node.module or ''}.{alias.name}"


def complaints_about_table(text: str, room: str) -> list[str]:
    """List the imports in `text` that the table does not give to `room`."""
    allowed = MAY_IMPORT[room]
    found: list[str] = []
    for line, name in imports(ast.parse(text)):
        top, _, rest = name.partition(".")
        target = rest.split(".")[0]
        if top != "calico" or not target or target.startswith("__"):
            continue
        if target == room:
            continue
        if target not in MAY_IMPORT:
            found.append(f"line {line}: `{name}`: there is no package `{target}`")
        elif target not in allowed:
            may = ", ".join(sorted(allowed)) or "nothing of ours"
            found.append(
                f"line {line}: `{room}` may not import `{name}`; it may import {may}"
                " (ARCHITECTURE.md: nothing below imports anything above)"
            )
        elif room == "cli" and target in CLOSED_TO_CLI and _is_inside(name):
            found.append(
                f"line {line}: `cli` may not import `{name}`: the insides of"
                f" `{target}` are its own; use what `calico.{target}` exports"
            )
    return found


def _is_inside(name: str) -> bool:
    """Tell whether a dotted name reaches a module inside a package of ours."""
    parts = name.split(".")
    if len(parts) > 3:
        return True  # `from calico.agent.loop import x`, or deeper
    place = SOURCE.joinpath(*parts)
    return place.is_dir() or place.with_suffix(".py").is_file()


def complaints_about_purity(text: str) -> list[str]:
    """List the imports in `text` that no package of the core may have."""
    found: list[str] = []
    for line, name in imports(ast.parse(text)):
        top = name.split(".")[0]
        if top in BANNED_IN_CORE:
            found.append(f"line {line}: `{top}` is banned here: {BANNED_IN_CORE[top]}")
        elif top != "calico" and top not in sys.stdlib_module_names:
            found.append(f"line {line}: `{top}`: the core depends on no library")
    return found


def complaints_about_docstrings(text: str) -> list[str]:
    """List the public module, classes and functions in `text` without one."""
    return list(_undocumented(ast.parse(text), ""))


def _undocumented(
    node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef,
    prefix: str,
) -> Iterator[str]:
    if ast.get_docstring(node) is None:
        name = prefix.rstrip(".") or "the module"
        line = getattr(node, "lineno", 1)
        yield (
            f"line {line}: {name} has no docstring: say what a reader of the"
            " call site needs, in one sentence"
        )
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return
    for child in node.body:
        if isinstance(
            child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        ) and not (child.name.startswith("_") or _repeats_another(child)):
            yield from _undocumented(child, f"{prefix}{child.name}.")


def _repeats_another(
    node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef,
) -> bool:
    """Tell whether a definition only repeats one documented elsewhere."""
    names = {ast.unparse(each).split(".")[-1] for each in node.decorator_list}
    return bool(names & {"overload", "override", "setter", "deleter"})


def complaints_about_size(text: str) -> list[str]:
    """Complain when `text` has more lines than a module may have."""
    n_lines = len(text.splitlines())
    if n_lines <= MAX_LINES:
        return []
    return [
        f"{n_lines} lines, {MAX_LINES} are allowed:"
        " split it by the question answered, not by layer"
    ]


def complaints_about_name(module: str) -> list[str]:
    """Complain when a dotted path says only that something is useful."""
    vague = {"util", "utils", "helper", "helpers", "misc"}
    return [
        f"`{part}` says nothing about what is inside: name it by what it answers"
        for part in module.removesuffix(".py").split("/")
        if part in vague
    ]


def home_of_tests(path: Path) -> Path:
    """Say where the tests of a core module belong."""
    inside = path.relative_to(PACKAGE)
    return UNIT_TESTS / inside.parent / f"test_{inside.stem.lstrip('_')}.py"


def _verify(path: Path, found: list[str]) -> None:
    assert not found, "\n".join([_name(path), *found])


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_module_imports_only_what_the_table_gives_it(path: Path) -> None:
    room = _room(path)
    if room in {"__init__", "__main__"}:
        _verify(
            path, [f"imports `{n}`" for _, n in imports(ast.parse(path.read_text()))]
        )
        return
    assert room in MAY_IMPORT, (
        f"{_name(path)}: `{room}` is not in the import table; a new package is"
        " a change of the house: ARCHITECTURE.md and the table, in one commit"
    )
    _verify(path, complaints_about_table(path.read_text(), room))


@pytest.mark.parametrize("path", CORE_MODULES, ids=_name)
def test_core_module_touches_nothing_but_values(path: Path) -> None:
    _verify(path, complaints_about_purity(path.read_text()))


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_module_runs_no_event_loop(path: Path) -> None:
    tops = {name.split(".")[0] for _, name in imports(ast.parse(path.read_text()))}
    assert "asyncio" not in tops, (
        f"{_name(path)}: asyncio is banned everywhere: one synchronous thread owns"
        " all state, and no function exists in two flavours"
    )


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_module_is_small_enough_to_read(path: Path) -> None:
    _verify(path, complaints_about_size(path.read_text()))


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_module_has_a_name_that_says_something(path: Path) -> None:
    _verify(path, complaints_about_name(_name(path)))


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_public_things_have_docstrings(path: Path) -> None:
    _verify(path, complaints_about_docstrings(path.read_text()))


@pytest.mark.parametrize(
    "path", [p for p in CORE_MODULES if p.stem != "__init__"], ids=_name
)
def test_core_module_has_its_own_test_file(path: Path) -> None:
    wanted = home_of_tests(path)
    assert wanted.is_file(), (
        f"{_name(path)} has no {wanted.relative_to(ROOT)}:"
        " each pure module is fully covered by its own test file"
    )


@pytest.mark.parametrize(
    "path", [p for p in CORE_MODULES if p.stem == "__init__"], ids=_name
)
def test_core_package_defines_nothing_in_its_face(path: Path) -> None:
    defined = [
        node.name
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef | ast.FunctionDef)
    ]
    assert not defined, (
        f"{_name(path)} defines {defined}: a package's face only exports, so that"
        " everything else has a test file of its own"
    )


@pytest.mark.parametrize(
    ("text", "room"),
    [
        ("import calico.agent", "model"),
        ("from calico import store", "compiler"),
        ("from calico.cli.main import main", "agent"),
        ("def f():\n    from calico.linux import nft", "verdict"),
        ("from calico.render import text", "analysis"),
        ("import calico.render.nft.text", "cli"),
        ("from calico.agent.loop import Loop", "cli"),
        ("from calico.nowhere import anything", "cli"),
    ],
)
def test_planted_import_is_found(text: str, room: str) -> None:
    assert complaints_about_table(text, room)


@pytest.mark.parametrize(
    ("text", "room"),
    [
        ("from calico.netset import PortSet", "model"),
        ("from calico.model.rule import Rule", "model"),
        ("from calico import __version__", "cli"),
        ("from calico.settings import Settings", "store"),
        ("from calico.control import Client", "attach"),
        ("from calico.agent import run", "cli"),
        ("import calicolike.agent", "model"),
    ],
)
def test_import_in_the_table_is_let_through(text: str, room: str) -> None:
    assert complaints_about_table(text, room) == []


@pytest.mark.parametrize(
    "text",
    [
        *(f"import {name}" for name in BANNED_IN_CORE),
        "from os.path import join",
        "def f():\n    from time import monotonic",
        "import yaml",
    ],
)
def test_planted_side_effect_is_found(text: str) -> None:
    assert complaints_about_purity(text)


def test_pure_imports_are_let_through() -> None:
    assert complaints_about_purity("import ipaddress\nimport calico.model") == []


@pytest.mark.parametrize(
    "text",
    [
        "x = 1",
        '"""M."""\ndef f(): ...',
        '"""M."""\nclass C:\n    """C."""\n    def f(self): ...',
        '"""M."""\nclass C: ...',
    ],
)
def test_planted_missing_docstring_is_found(text: str) -> None:
    assert len(complaints_about_docstrings(text)) == 1


@pytest.mark.parametrize(
    "text",
    [
        '"""M."""\ndef _f(): ...',
        '"""M."""\ndef f():\n    """F."""\n    def inner(): ...',
        '"""M."""\nclass C:\n    """C."""\n    def __eq__(self, o): ...',
        '"""M."""\nclass C:\n    """C."""\n    @p.setter\n    def p(self, v): ...',
    ],
)
def test_documented_text_is_let_through(text: str) -> None:
    assert complaints_about_docstrings(text) == []


def test_size_is_counted_to_the_line() -> None:
    assert complaints_about_size("x\n" * MAX_LINES) == []
    assert complaints_about_size("x\n" * (MAX_LINES + 1))


def test_vague_name_is_found() -> None:
    assert complaints_about_name("calico/utils/text.py")
    assert complaints_about_name("calico/store/helpers.py")
    assert complaints_about_name("calico/store/sqlite.py") == []


def test_core_imports_no_shell() -> None:
    assert not any(allowed & frozenset(SHELL) for allowed in CORE.values())


def test_import_table_has_no_circle() -> None:
    settled: set[str] = set()
    while rest := set(MAY_IMPORT) - settled:
        free = {room for room in rest if MAY_IMPORT[room] <= settled}
        assert free, f"these packages import each other in a circle: {sorted(rest)}"
        settled |= free
