"""What a mutant is: one small change to one file, such as a person makes by mistake.

Texts are left alone, unless something is compared with them: what a message says is for people, and tests look at the
words that matter. So are annotations, imports and docstrings.
"""

import ast
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,), ast.NotIn: (ast.In,),
}  # fmt: skip
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult,
    ast.LShift: ast.RShift, ast.RShift: ast.LShift, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.Pow: ast.Mult,
    ast.BitXor: ast.BitAnd,
}  # fmt: skip
_CALLS = {"min": "max", "max": "min", "any": "all", "all": "any"}
_NOT_CODE = {"annotation", "returns", "decorator_list", "bases", "type_params"}
_CONDITIONS = {"test", "ifs", "guard"}


class Place(NamedTuple):
    """A node of a tree, and where it hangs."""

    node: ast.AST
    parent: ast.AST
    field: str
    at: int | None
    """In the field, if that is a list."""
    function: str
    """The qualified name of the function around it; empty outside of all."""


class Mutant(NamedTuple):
    """One change to one file."""

    file: str
    name: str
    """What stays the same when lines move."""
    lines: range
    """Of what is changed."""
    address: tuple[int, int]
    """Which place, and which change there."""


def mutants_of(source: str, file: str) -> list[Mutant]:
    """Return all mutants of *source*."""
    found = []
    times: Counter[str] = Counter()
    for number, place in enumerate(_places(ast.parse(source))):
        for edit, new in enumerate(_edits(place)):
            node = place.node
            assert isinstance(node, ast.expr | ast.stmt)
            name = f"{file} {place.function or '<module>'}: {_text(node)} -> {_text(new)}"
            times[name] += 1
            if times[name] > 1:
                name += f" (place {times[name]})"
            lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
            found.append(Mutant(file, name, lines, (number, edit)))
    return found


def mutated(source: str, mutant: Mutant) -> ast.Module:
    """Return the tree of *source* with the change of *mutant*."""
    tree = ast.parse(source)
    number, edit = mutant.address
    place = list(_places(tree))[number]
    new = list(_edits(place))[edit]
    ast.copy_location(new, place.node)
    if place.at is None:
        setattr(place.parent, place.field, new)
    else:
        getattr(place.parent, place.field)[place.at] = new
    return ast.fix_missing_locations(tree)


def _text(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 100 else f"{text[:97]}..."


def _places(node: ast.AST, function: str = "") -> Iterator[Place]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        function = f"{function}.{node.name}".lstrip(".")
    for field, value in ast.iter_fields(node):
        if field in _NOT_CODE:
            continue
        for index, child in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(child, ast.AST):
                yield Place(child, node, field, index if isinstance(value, list) else None, function)
                yield from _places(child, function)


def _edits(place: Place) -> Iterator[ast.AST]:
    """Yield what may stand in the place."""
    node = place.node
    match node:
        case ast.Compare(left, operators, others):
            for at, operator in enumerate(operators):
                for new in _COMPARISONS[type(operator)]:
                    yield ast.Compare(left, [*operators[:at], new(), *operators[at + 1 :]], others)
        case ast.BoolOp(operator, values):
            yield ast.BoolOp(ast.Or() if isinstance(operator, ast.And) else ast.And(), values)
        case ast.UnaryOp(ast.Not() | ast.USub(), operand):
            yield operand
        case ast.BinOp(left, operator, right) if type(operator) in _ARITHMETIC:
            yield ast.BinOp(left, _ARITHMETIC[type(operator)](), right)
        case ast.Call(ast.Name(name), arguments, keywords) if name in _CALLS:
            yield ast.Call(ast.Name(_CALLS[name], ast.Load()), arguments, keywords)
        case ast.Constant():
            yield from _other_constants(node, place)
        case ast.stmt():
            yield from _other_statements(node)
    if place.field in _CONDITIONS and not isinstance(node, ast.Compare | ast.UnaryOp | ast.BoolOp):
        assert isinstance(node, ast.expr)
        yield ast.UnaryOp(ast.Not(), node)


def _other_constants(node: ast.Constant, place: Place) -> Iterator[ast.AST]:
    match node.value:
        case bool():
            yield ast.Constant(not node.value)
        case int() | float():
            yield ast.Constant(node.value + 1)
            if node.value > 1:
                yield ast.Constant(node.value - 1)
        case bytes():
            yield ast.Constant(node.value + b"x")
        case str() if isinstance(place.parent, ast.Compare | ast.Subscript):
            yield ast.Constant(f"{node.value}x")


def _other_statements(node: ast.stmt) -> Iterator[ast.AST]:
    match node:
        case ast.Return(value) if value is not None and not isinstance(value, ast.Constant):
            yield ast.Return(ast.Constant(None))
        case ast.Break():
            yield ast.Continue()
        case ast.Continue():
            yield ast.Break()
        case ast.Expr(ast.Constant()):
            return  # a docstring
        case ast.Expr() | ast.Raise() | ast.AugAssign() | ast.Delete():
            yield ast.Pass()
        case ast.Assign([ast.Attribute() | ast.Subscript()]):
            yield ast.Pass()
