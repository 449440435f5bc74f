"""A shape that changes is noticed, whatever changes; and whatever an old shape could hold is still read."""

import copy
import json
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapes import payloads, shape

from strategies import quick
from synlearner.errors import CorruptLog
from synlearner.events import UPCASTERS, Fact, decode, encode
from synlearner.events import codec as module

SHAPES = json.loads((Path(__file__).parent / "events_shapes.json").read_text(encoding="utf-8"))


class Inner(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    name: str
    count: int


class Outer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    title: str
    score: float
    place: tuple[int, int]
    inner: list[Inner]
    named: dict[str, Inner]


FIELDS: dict[str, Any] = {"title": str, "score": float, "place": tuple[int, int], "inner": list[Inner], "named": dict[str, Inner]}  # fmt: skip


def outer(changes: dict[str, Any], **config: Any) -> Any:
    """Return the class with changed fields; a field that is None is gone."""
    told = {name: hint for name, hint in {**FIELDS, **changes}.items() if hint is not None}
    options: dict[str, Any] = {"frozen": True, "forbid_unknown_fields": True, "kw_only": True} | config
    fields = [(name, *(hint if isinstance(hint, tuple) else (hint,))) for name, hint in told.items()]
    return msgspec.defstruct("Outer", fields, **options)


def inner(changes: dict[str, Any]) -> Any:
    fields = {"name": str, "count": int} | changes
    made = [(name, hint) for name, hint in fields.items() if hint is not None]
    return msgspec.defstruct("Inner", made, frozen=True, forbid_unknown_fields=True, kw_only=True)


CHANGED = {
    "a field more": outer({"more": str}),
    "a field that may be missing": outer({"more": (str, "")}),
    "a field less": outer({"score": None}),
    "a field of another name": outer({"title": None, "caption": str}),
    "a field that is stored under another name": outer({"title": (str, msgspec.field(name="heading"))}),
    "a field of another type": outer({"score": int}),
    "a field that may be null": outer({"title": str | None}),
    "a field with a default": outer({"title": (str, "x")}),
    "a field with an empty default": outer({"inner": (list[Inner], msgspec.field(default_factory=list))}),
    "a field with limits": outer({"score": Annotated[float, msgspec.Meta(ge=0)]}),
    "a field of few words": outer({"title": Literal["a", "b"]}),
    "another number of places": outer({"place": tuple[int, int, int]}),
    "any number of places": outer({"place": tuple[int, ...]}),
    "places of another type": outer({"place": tuple[int, float]}),
    "free JSON": outer({"inner": list[Any]}),
    "a list for a dictionary": outer({"named": list[Inner]}),
    "a field more inside": outer({"inner": list[inner({"more": str})]}),  # type: ignore[misc]
    "a field less inside": outer({"inner": list[inner({"count": None})]}),  # type: ignore[misc]
    "another type inside": outer({"named": dict[str, inner({"count": float})]}),  # type: ignore[misc]
    "unknown fields are read": outer({}, forbid_unknown_fields=False),
    "an array": outer({}, array_like=True),
    "a tag": outer({}, tag="outer"),
    "defaults are left out": outer({"title": (str, "x")}, omit_defaults=True),
    "names are rewritten": outer({}, rename="upper"),
}


@pytest.mark.parametrize("what", CHANGED)
def test_no_change_of_a_shape_goes_unnoticed(what: str) -> None:
    assert shape(CHANGED[what]) != shape(Outer)
    assert json.loads(json.dumps(shape(CHANGED[what]))) == shape(CHANGED[what]), "it can be kept as JSON"


def test_all_changes_differ_from_one_another() -> None:
    shapes = [json.dumps(shape(changed)) for changed in CHANGED.values()]
    assert len(set(shapes)) == len(shapes)


def test_what_decides_nothing_is_no_part_of_a_shape() -> None:
    class Other(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
        """Another name, a docstring, another order, not frozen."""

        named: dict[str, Inner]
        inner: list[Inner]
        place: tuple[int, int]
        score: float
        title: str

        @property
        def more(self) -> str:
            return self.title

    assert shape(Other) == shape(Outer) == shape(outer({}))


def test_a_type_that_is_no_json_has_no_shape() -> None:
    for hint in (bytes, set[int], object, complex):
        with pytest.raises(TypeError, match="has no shape"):
            shape(hint)


# ---- what was written once is read for ever ------------------------------------------------------------------


def split(name: str) -> tuple[str, int]:
    kind, version = name.rsplit(" ", 1)
    return kind, int(version)


@pytest.mark.parametrize("name", SHAPES)
@quick
@given(data=st.data())
def test_whatever_a_shape_could_hold_is_read_and_lifted(name: str, data: st.DataObject) -> None:
    """Upcasters are total: every payload that could be written is read, however old its version."""
    kind, version = split(name)
    payload = data.draw(payloads(SHAPES[name]))
    fact = decode(kind, version, msgspec.json.encode(payload))
    assert (fact.kind, decode(kind, type(fact).version, encode(fact))) == (kind, fact)


@pytest.mark.parametrize("step", UPCASTERS, ids=str)
@quick
@given(data=st.data())
def test_an_upcaster_is_pure_and_gives_the_next_shape(step: tuple[str, int], data: st.DataObject) -> None:
    kind, version = step
    old = data.draw(payloads(SHAPES[f"{kind} {version}"]))
    before = copy.deepcopy(old)
    lifted = UPCASTERS[step](old)
    assert old == before, "it changed what it was given"
    assert UPCASTERS[step](copy.deepcopy(old)) == lifted
    assert set(lifted) == set(SHAPES[f"{kind} {version + 1}"])


def test_every_old_version_has_its_upcaster() -> None:
    newest = {
        kind: max(version for known, version in map(split, SHAPES) if known == kind) for kind, _ in map(split, SHAPES)
    }
    steps = {(kind, version) for kind, last in newest.items() for version in range(1, last)}
    assert set(UPCASTERS) == steps


# ---- a kind of our own, from its first version to its third ---------------------------------------------------


class NoteTaken(Fact, frozen=True):
    """Version 1 had `text`, version 2 called it `words` and counted them, version 3 keeps them apart."""

    kind: ClassVar[str] = "note_taken"
    version: ClassVar[int] = 3
    words: list[str]
    count: int


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the codec know the kind, as `AnyFact` makes it know others."""
    monkeypatch.setitem(module._KINDS, "note_taken", NoteTaken)
    monkeypatch.setitem(module._DECODE, "note_taken", msgspec.json.Decoder(NoteTaken).decode)
    first = lambda old: {"words": old["text"], "count": len(old["text"].split())}  # noqa: E731
    second = lambda old: {**old, "words": old["words"].split()}  # noqa: E731
    monkeypatch.setitem(UPCASTERS, ("note_taken", 1), first)
    monkeypatch.setitem(UPCASTERS, ("note_taken", 2), second)


@pytest.mark.usefixtures("notes")
def test_a_payload_of_any_version_becomes_the_newest() -> None:
    newest: Any = NoteTaken(words=["a", "b"], count=2)
    assert decode("note_taken", 1, b'{"text":"a b"}') == newest
    assert decode("note_taken", 2, b'{"words":"a b","count":2}') == newest
    assert decode("note_taken", 3, b'{"words":["a","b"],"count":2}') == newest
    with pytest.raises(CorruptLog, match="has version 4, this program reads up to 3: a newer SynLearner wrote it"):
        decode("note_taken", 4, b"{}")


@pytest.mark.usefixtures("notes")
@pytest.mark.parametrize("payload", [b"{}", b'{"text":1}', b'{"text":null}', b"[]", b"null", b'{"text":"a"', b""])
@pytest.mark.parametrize("version", [1, 2, 3])
def test_what_never_was_of_that_version_is_refused_and_no_traceback(version: int, payload: bytes) -> None:
    with pytest.raises(CorruptLog, match=rf"the payload does not have the shape of note_taken version {version}"):
        decode("note_taken", version, payload)


@pytest.mark.parametrize(
    "kind",
    ["os", "os.system", "builtins:eval", "synlearner.events:Fact", "__main__", "RunFinished", "run_finished ", ""],
)
def test_a_strangers_log_names_no_code(kind: str) -> None:
    import sys  # noqa: PLC0415

    before = set(sys.modules)
    with pytest.raises(CorruptLog, match=r"is unknown: a newer SynLearner may have written it"):
        decode(kind, 1, b'{"__reduce__":["os.system","true"]}')
    assert set(sys.modules) == before
