"""Finds the undocumented names of third-party packages that our source uses, from the syntax trees.

Three kinds of use are found:

- a private module, function or class (`torch._int_mm`), and everything from an undocumented module of `DEEP`;
- a private attribute that our code does not define (`producer._ensure_producer`);
- names of a base class that our class overrides or uses: every name for bases from `OVERRIDES`, else private ones.
"""

import ast
import importlib
import inspect
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).parent.parent

DEEP = {"faust", "mode", "aiokafka", "rocksdict", "numba", "torch"}
"""Packages of which we use internals. Of these, only the modules in `DOCUMENTED` may be used without a row."""

DOCUMENTED = {
    "aiokafka", "aiokafka.admin", "aiokafka.errors",
    "faust", "faust.exceptions", "faust.types", "faust.web",
    "mode",
    "numba", "numba.core.types", "numba.extending", "numba.types",
    "rocksdict",
    "torch", "torch.distributed", "torch.nn", "torch.nn.functional",
}  # fmt: skip
"""Modules that the packages' manuals describe."""

OVERRIDES = {"faust", "mode", "aiokafka"}
"""Packages whose classes are not designed for our overrides: each name of a base class that we use needs a row."""

DOCUMENTED_CLASSES = {"App", "Service", "Table", "Worker"}
"""Classes of those packages whose public names may be used, but not overridden, without a row."""

NAMED_TUPLE = {"_asdict", "_fields", "_make", "_replace"}
"""Names that are documented in spite of the underscore."""


@dataclass(frozen=True)
class Use:
    """One place in our source.

    Attributes:
        name: dotted name beginning with its package, or an attribute.
        where: file and line.
        owners: the classes that an attribute may belong to; None for any.
    """

    name: str
    where: str
    owners: tuple[type, ...] | None = None

    @property
    def file(self) -> str:
        """The file, without the line."""
        return self.where.rpartition(":")[0]


class Source:
    """One of our source files."""

    def __init__(self, path: Path) -> None:
        self.file = path.relative_to(ROOT).as_posix()
        self.module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        self.nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))

    @cached_property
    def identifiers(self) -> set[str]:
        """All names that occur in the file."""
        found = set()
        for node in self.nodes:
            match node:
                case ast.Attribute(attr=name) | ast.Name(id=name):
                    found.add(name)
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                    found.add(name)
                case ast.alias(name=name):
                    found.add(name.rpartition(".")[2])
        return found

    @cached_property
    def definitions(self) -> set[str]:
        """Names that the file defines: functions, classes, variables, and attributes that a method sets on `self`."""
        found = set()
        for node in self.nodes:
            match node:
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                    found.add(name)
                case (
                    ast.Name(id=name, ctx=ast.Store())
                    | ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name, ctx=ast.Store())
                ):
                    found.add(name)
        return found

    @cached_property
    def imported(self) -> dict[str, str]:
        """Local name → dotted name, of all imports in the file."""
        found = {}
        for node in self.nodes:
            match node:
                case ast.Import(names=names):
                    for name in names:
                        top = name.name.partition(".")[0]
                        found[name.asname or top] = name.name if name.asname else top
                case ast.ImportFrom(module=str(module), names=names, level=0):
                    found.update({name.asname or name.name: f"{module}.{name.name}" for name in names})
        return found

    def dotted(self, node: ast.AST) -> str | None:
        """`driver.Consumer` → `faust.transport.drivers.aiokafka.Consumer`; None if it does not begin with an import."""
        match node:
            case ast.Name(id=name):
                return self.imported.get(name)
            case ast.Attribute(value=value, attr=name):
                owner = self.dotted(value)
                return owner and f"{owner}.{name}"
        return None

    def at(self, node: ast.expr | ast.stmt) -> str:
        """File and line, for a message."""
        return f"{self.file}:{node.lineno}"


@cache
def sources() -> list[Source]:
    """Our files: the packages of the wheel, and the benchmarks."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = [*project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"], "benchmarks"]
    return [Source(path) for package in packages for path in sorted((ROOT / package).rglob("*.py"))]


@cache
def our_packages() -> set[str]:
    """Names of our top-level packages."""
    return {source.module.partition(".")[0] for source in sources()}


@cache
def our_definitions() -> set[str]:
    """All names that our code defines anywhere."""
    return set().union(*(source.definitions for source in sources()))


@cache
def uses() -> list[Use]:
    """All uses that need a row in the table."""
    return [use for source in sources() for find in (_imports, _foreign_attributes, _of_bases) for use in find(source)]


def _imports(source: Source) -> Iterator[Use]:
    """Private names, and all names from undocumented modules."""
    for node in source.nodes:
        match node:
            case ast.Import(names=names):
                found = [(name.name, name.name) for name in names]
            case ast.ImportFrom(module=str(module), names=names, level=0):
                found = [(module, f"{module}.{name.name}") for name in names]
            case ast.Attribute():
                dotted = source.dotted(node)
                found = [(source.imported[_root(node)], dotted)] if dotted else []
            case _:
                continue
        for module, name in found:
            private = any(_is_private(part) for part in name.split("."))
            modules = {module} if isinstance(node, ast.Attribute) else {module, name}
            undocumented = any(_is_undocumented_module(each) for each in modules)
            if _is_foreign(name) and (private or undocumented):
                yield Use(name, source.at(node))  # type: ignore[arg-type]


def _root(node: ast.expr) -> str:
    """`driver` of `driver.Consumer.commit`."""
    while isinstance(node, ast.Attribute):
        node = node.value
    assert isinstance(node, ast.Name)
    return node.id


@cache
def _is_undocumented_module(name: str) -> bool:
    return name.partition(".")[0] in DEEP and name not in DOCUMENTED and inspect.ismodule(look_up(name))


def _foreign_attributes(source: Source) -> Iterator[Use]:
    """Private attributes that our code does not define."""
    for node in source.nodes:
        match node:
            case ast.Attribute(value=value, attr=name) if not _is_own(value) and not source.dotted(node):
                pass
            case ast.Call(func=ast.Name(id="getattr" | "setattr" | "hasattr"), args=[_, ast.Constant(str(name)), *_]):
                pass
            case _:
                continue
        if _is_private(name) and name not in our_definitions():
            yield Use(name, source.at(node))


def _of_bases(source: Source) -> Iterator[Use]:
    """Names of third-party base classes that our classes override or use."""
    for definition in (node for node in source.nodes if isinstance(node, ast.ClassDef)):
        foreign = _foreign_bases(source, definition)
        names = {base: _names_of(base) for base in foreign}
        theirs = set().union(*names.values())
        manual = [base for base in foreign if base.__qualname__ in DOCUMENTED_CLASSES]
        documented = set().union(*(names[base] for known in manual for base in known.__mro__ if base in names))
        deep = any(base.__module__.partition(".")[0] in OVERRIDES for base in foreign)
        for node in ast.walk(definition):
            match node:
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) if node in definition.body:
                    needed = deep
                case ast.Name(id=name, ctx=ast.Store()) if _assigned_in(definition, node):
                    needed = deep
                case ast.Attribute(value=value, attr=name) if _is_own(value):
                    needed = deep and name not in documented
                case _:
                    continue
            if name in theirs and (needed or _is_private(name)):
                yield Use(name, source.at(node), foreign)


def _foreign_bases(source: Source, definition: ast.ClassDef) -> tuple[type, ...]:
    found: dict[type, None] = {}
    for node in definition.bases:
        dotted = source.dotted(node) or (isinstance(node, ast.Name) and f"{source.module}.{node.id}")
        base = look_up(dotted) if dotted else None
        if isinstance(base, type):
            found.update(dict.fromkeys(each for each in base.__mro__ if _is_foreign(each.__module__)))
    return tuple(found)


@cache
def _names_of(owner: type) -> set[str]:
    """Names that a class defines, and those that its methods use of `self`."""
    found = {name for name in vars(owner) if name not in vars(object)} | set(vars(owner).get("__annotations__", {}))
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(owner)))
    except (OSError, TypeError):  # compiled
        return found
    return found | {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and _is_own(node.value)}


@cache
def look_up(dotted: str) -> object | None:
    """The object of a dotted name; None if there is none."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            if (found := getattr(found, part, None)) is None:
                break
        return found
    return None


def _is_own(node: ast.expr) -> bool:
    """`self`, `cls` or `super()`."""
    match node:
        case ast.Name(id="self" | "cls") | ast.Call(func=ast.Name(id="super")):
            return True
    return False


def _assigned_in(definition: ast.ClassDef, node: ast.Name) -> bool:
    return any(
        node in statement.targets if isinstance(statement, ast.Assign) else statement.value and node is statement.target
        for statement in definition.body
        if isinstance(statement, ast.Assign | ast.AnnAssign)
    )


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in NAMED_TUPLE and name != "_"


def _is_foreign(dotted: str) -> bool:
    top = dotted.partition(".")[0]
    return top not in sys.stdlib_module_names and top not in our_packages()
