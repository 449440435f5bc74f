"""The mutants of one line, worked by hand; and that no excuse outlives its mutant."""

import ast

import pytest

from mutants.equivalent import EQUIVALENT
from mutants.operators import mutants_of, mutated
from mutants.survey import CORE, ROOT


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = a < b", ["x = a <= b", "x = a >= b"]),
        ("x = a <= b < c", ["x = a < b < c", "x = a > b < c", "x = a <= b <= c", "x = a <= b >= c"]),
        ("x = a is None", ["x = a is not None"]),
        ("x = a == 'b'", ["x = a != 'b'", "x = a == 'bx'"]),
        ("x = a and (not b)", ["x = a or not b", "x = a and b"]),
        ("x = a + 2", ["x = a - 2", "x = a + 3", "x = a + 1"]),
        ("x = True", ["x = False"]),
        ("x = min(a)", ["x = max(a)"]),
        ("x = b'a'", ["x = b'ax'"]),
        ("x.y = a", ["pass"]),
        ("x = a", []),
        ("x = 'a'", []),
        ("f('a')", ["pass"]),
        ("x = [y for y in z if y]", ["x = [y for y in z if not y]"]),
        ("def f() -> g[1]: return h()", ["def f() -> g[1]: return None"]),
        ("def f(x: g[1]=0) -> None: 'docstring'", ["def f(x: g[1]=1) -> None: 'docstring'"]),
        ("while a: break", ["while not a: break", "while a: continue"]),
    ],
)
def test_the_mutants_of_a_line(source: str, expected: list[str]) -> None:
    found = [mutated(source, mutant) for mutant in mutants_of(source, "x")]
    assert sorted(map(ast.unparse, found)) == sorted(ast.unparse(ast.parse(each)) for each in expected)


def test_mutants_have_names_of_their_own() -> None:
    names = [mutant.name for mutant in mutants_of("def f(): return a < 1, a < 1", "x")]
    assert len(set(names)) == len(names) == 7
    assert "x f: a < 1 -> a <= 1 (place 2)" in names


def test_every_mutant_that_is_excused_is_one() -> None:
    files = {name: (ROOT / "events" / f"{name}.py").read_text() for name in CORE}
    known = {mutant.name for name, source in files.items() for mutant in mutants_of(source, name)}
    assert set(EQUIVALENT) - known == set()
