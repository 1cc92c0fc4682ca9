"""House rules that no linter knows: each test is a rule, and names what breaks it."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

APP = Path(__file__).parents[1] / "app"
MODULES = {path.relative_to(APP.parent): ast.parse(path.read_text()) for path in sorted(APP.rglob("*.py"))}

MUTABLE = {"list", "dict", "set", "bytearray", "defaultdict", "deque", "OrderedDict", "Counter"}
FORBIDDEN_NAMES = {"eval", "exec", "__import__", "breakpoint", "popen", "system", "BaseHTTPMiddleware"}
FORBIDDEN_MODULES = {"pickle", "marshal", "shelve", "subprocess", "ctypes", "imp", "multiprocessing"}
VAGUE = {"utils", "util", "helpers", "helper", "managers", "manager", "services", "common", "misc", "lib"}
PURE = {
    *(
        "collections",
        "dataclasses",
        "enum",
        "fnmatch",
        "functools",
        "hashlib",
        "hmac",
        "ipaddress",
        "itertools",
        "types",
        "tomllib",
        "math",
        "decimal",
        "orjson",
        "re",
    ),
    "typing",
}


def test_there_is_something_to_look_at():
    assert len(MODULES) > 40


def test_modules_hold_no_mutable_state():
    """Only tables, which are constants and look like ones: UPPER_CASE."""
    found = [
        f"{path}:{statement.lineno} {name}"
        for path, module in MODULES.items()
        for statement in module.body
        for name in assigned(statement)
        if is_mutable(statement.value) and name != name.upper()  # type: ignore[attr-defined]
    ]
    assert found == []


def test_tables_are_not_changed():
    """A constant is not written to from a function, and nothing is declared global."""
    tables = {
        path: {name for statement in module.body for name in assigned(statement)}
        for path, module in MODULES.items()
    }
    written = [
        f"{path}:{node.lineno}"
        for path, node in nodes()
        for target in targets(node)
        if isinstance(target, ast.Subscript) and name_of(target.value) in tables[path]
    ]
    assert written == []
    assert [f"{path}:{node.lineno}" for path, node in nodes() if isinstance(node, ast.Global)] == []


def test_nothing_that_comes_in_is_ever_run():
    names = [
        f"{path}:{node.lineno} {name_of(node)}" for path, node in nodes() if name_of(node) in FORBIDDEN_NAMES
    ]
    modules = [
        f"{path}:{node.lineno} {name}"
        for path, node in nodes()
        for name in imported(node)
        if name.partition(".")[0] in FORBIDDEN_MODULES
    ]
    assert names + modules == []


def test_names_say_what_is_in_them():
    assert [str(path) for path in MODULES if VAGUE & {*path.parts, path.stem}] == []


def test_the_core_is_pure():
    found = [
        f"{path}:{node.lineno} {name}"
        for path, node in nodes()
        if path.parts[1] == "core"
        for name in imported(node)
        if name.partition(".")[0] not in PURE and not name.startswith("app.core")
    ]
    assert found == []


def test_everything_public_says_what_it_is_for():
    found = [
        f"{path}:{node.lineno} {node.name}"
        for path, module in MODULES.items()
        for node in public(module)
        if not ast.get_docstring(node)
    ]
    assert found == []
    assert [str(path) for path, module in MODULES.items() if not ast.get_docstring(module)] == []


def nodes() -> Iterator[tuple[Path, Any]]:
    """Every node of every module."""
    for path, module in MODULES.items():
        for node in ast.walk(module):
            yield path, node


def public(parent: ast.AST) -> Iterator[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """The classes and functions of a module, and the methods of those classes, that others may use."""
    for node in ast.iter_child_nodes(parent):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.name[0] != "_":
            yield node
            if isinstance(node, ast.ClassDef):
                yield from public(node)


def targets(statement: ast.AST) -> list[ast.expr]:
    if isinstance(statement, ast.Assign):
        return statement.targets
    if isinstance(statement, ast.AnnAssign | ast.AugAssign):
        return [statement.target]
    return []


def assigned(statement: ast.stmt) -> list[str]:
    return [target.id for target in targets(statement) if isinstance(target, ast.Name)]


def is_mutable(value: ast.expr | None) -> bool:
    if isinstance(value, ast.Call):
        return name_of(value.func) in MUTABLE
    return isinstance(value, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp)


def name_of(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [node.module or ""]
    return []
