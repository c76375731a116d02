"""What the programs can say to a user, from the source: errors, warnings and notes.

A value in a message becomes the name of what stands there, in capitals: `no config file NAME`.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from common.config_values import REPO_ROOT

FOLDERS = ("common", "stage1_vae", "stage2_sampler", "stage3_depth", "llm_mde", "scripts")
ERRORS = (
    "UserError",
    "BadFileError",
    "ProtocolMismatch",
    "SilentHubError",
    "ShortageError",
    "ArgumentTypeError",
)
# Functions that return what another file raises or prints.
SAYING = {
    "common/errors.py": ("_lost_contact",),
    "common/data/workers.py": ("describe_death",),
    "common/runtime/launcher.py": ("_describe_death",),
    "common/data/kept_checks.py": ("describe_seen",),
}
KEY_ERROR = re.compile(r"[a-z][a-z_]*: |(?:KEY|NAME): ")  # of a config's own checks, ValueErrors
TOLD = re.compile(r"(?:WARNING|warning|note|error): ")
# A message that says nothing of its own but another's.
HANDED_ON = re.compile(r"(?:WARNING|warning|note|error):|(?:\w+: )?[A-Z_]+(?: \(.*\))?")
MOST = 6  # alternatives of one message


@dataclass(frozen=True, order=True)
class Message:
    """text: with names in capitals for values. path: the file that says it."""

    path: str
    text: str


def all_messages() -> list[Message]:
    """Every message of the project, in the order of the files, each once."""
    files = [REPO_ROOT / "hubconf.py"]
    for folder in FOLDERS:
        files += sorted((REPO_ROOT / folder).rglob("*.py"))
    own = REPO_ROOT / "scripts/documentation"
    found = (m for path in files if own not in path.parents for m in messages_of(path))
    return list(dict.fromkeys(found))


def messages_of(path: Path) -> Iterator[Message]:
    """The messages of one file, from its syntax tree."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    source = Source.of(tree)
    name = path.relative_to(REPO_ROOT).as_posix() if path.is_relative_to(REPO_ROOT) else path.name
    inside = {id(n): f for f in source.functions.values() for n in ast.walk(f)}
    said = [text for saying in SAYING.get(name, ()) for text in Texts(source).returned(saying)]
    for definition in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
        if any(ast.unparse(base) in ERRORS for base in definition.bases):
            said += _said_by_class(definition, source)
    parts = {id(part) for n in ast.walk(tree) if isinstance(n, ast.JoinedStr) for part in n.values}
    for node in (node for node in ast.walk(tree) if id(node) not in parts):
        said += _said_by(node, Texts(source, inside.get(id(node))))
    yield from (Message(name, " ".join(text.split())) for text in said if _says_something(text))


def _said_by_class(definition: ast.ClassDef, source: "Source") -> Iterator[str]:
    """What an error that makes its own message says: `super().__init__("...")`."""
    for node in ast.walk(definition):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "super().__init__":
            yield from Texts(source).of(node.args[0])


def _said_by(node: ast.AST, texts: "Texts") -> list[str]:
    """The messages that a node makes: a call of an error, or a text that is printed."""
    if isinstance(node, ast.JoinedStr | ast.Constant):
        return [text for text in texts.of(node) if TOLD.match(text)]
    if not (isinstance(node, ast.Call) and node.args):
        return []
    called = ast.unparse(node.func).rpartition(".")[2]
    if called in ERRORS:
        return texts.of(node.args[0])
    if called == "ValueError":
        return [text for text in texts.of(node.args[0]) if KEY_ERROR.match(text)]
    return []


def _says_something(text: str) -> bool:
    """Whether more than a message made elsewhere is left."""
    return len(re.sub(r"[^a-z]", "", text)) > 4 and not HANDED_ON.fullmatch(text)


@dataclass(frozen=True)
class Source:
    """Of one file: its functions, and its constants."""

    functions: dict[str, ast.FunctionDef]
    constants: dict[str, ast.expr]

    @classmethod
    def of(cls, tree: ast.Module) -> "Source":
        """Of a file's syntax tree."""
        functions = {n.name: n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}
        given = (n for n in tree.body if isinstance(n, ast.Assign) and len(n.targets) == 1)
        return cls(functions, {ast.unparse(n.targets[0]): n.value for n in given})


class Texts:
    """What a string expression may be, with names in capitals for its values."""

    def __init__(self, source: Source, function: ast.FunctionDef | None = None, deep: int = 0):
        self.source, self.function, self.deep = source, function, deep

    def of(self, node: ast.expr) -> list[str]:
        """All alternatives; none where it cannot be known."""
        match node:
            case ast.Constant(value=str(text)):
                return [text]
            case ast.JoinedStr(values=parts):
                return self._joined([self._part(part) for part in parts])
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return self._joined([self.of(left) or [placeholder(left)], self._or_name(right)])
            case ast.IfExp(body=body, orelse=ast.Constant(value="")):
                return self.of(body)
            case ast.IfExp(body=body, orelse=other):
                return self.of(body) + self.of(other)
            case ast.BoolOp(values=values):
                return [text for value in values for text in self.of(value)]
            case ast.Name(id=name):
                return self._assigned(name)
            case ast.Call(func=ast.Name(id=name)) if name in self.source.functions:
                return self.returned(name)
            case ast.Call(func=ast.Attribute(value=ast.Constant(value=str(text)), attr="format")):
                return [re.sub(r"\{\w*\}", "...", text)]
        return []

    def _part(self, part: ast.expr) -> list[str]:
        if not isinstance(part, ast.FormattedValue):
            return self.of(part)
        return self._or_name(part.value)

    def _or_name(self, node: ast.expr) -> list[str]:
        """The texts of a part; a value is named only, and so is what is unknown."""
        texts: list[str] = []
        if isinstance(node, ast.IfExp | ast.Constant):
            texts = self.of(node)
        elif isinstance(node, ast.Name):
            is_constant = node.id in self.source.constants
            texts = [text for text in self._assigned(node.id) if is_constant or " " in text]
        return texts if 0 < len(texts) <= 3 else [placeholder(node)]

    @staticmethod
    def _joined(parts: list[list[str]]) -> list[str]:
        """Every combination; where these are too many, the first text of each part."""
        texts = [""]
        for part in parts:
            choices = part if len(texts) * len(part) <= MOST else part[:1]
            texts = [text + choice for text in texts for choice in choices]
        return texts

    def _assigned(self, name: str) -> list[str]:
        """What a local name, or a constant of the file, was given, where that is text."""
        found: list[str] = []
        if self.deep > 3:
            return found
        inner = Texts(self.source, self.function, self.deep + 1)
        if name in self.source.constants:
            return inner.of(self.source.constants[name])
        for node in ast.walk(self.function or ast.Module([], [])):
            if isinstance(node, ast.Assign) and [ast.unparse(t) for t in node.targets] == [name]:
                found += [text for text in inner.of(node.value) if text not in found]
        return found

    def returned(self, name: str) -> list[str]:
        """What a function of the file returns, where that is text."""
        if self.deep > 3:
            return []
        function = self.source.functions[name]
        inner = Texts(self.source, function, self.deep + 1)
        returns = (node for node in ast.walk(function) if isinstance(node, ast.Return))
        return [text for node in returns for text in inner.of(node.value or ast.Constant(None))]


def placeholder(node: ast.expr) -> str:
    """The name of a value, in capitals."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name.strip("_").upper()
        case ast.Call(func=ast.Name(id="len")):
            return "NUMBER"
        case ast.Call(func=ast.Attribute(attr="get", value=value)):
            return placeholder(value)
        case ast.Call(args=[first, *_]) if not isinstance(first, ast.GeneratorExp | ast.Lambda):
            return placeholder(first)
        case ast.Call(func=ast.Attribute(value=value)):
            return placeholder(value)
        case ast.Call(func=function):
            return placeholder(function)
        case ast.Subscript(value=value) | ast.Starred(value=value):
            return placeholder(value)
        case ast.BinOp():
            return "NUMBER"
    return "..."
