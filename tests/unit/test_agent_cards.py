"""Cards and streams: what is taken, and every refusal with its file, its task and its key."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pieces import KINDS, PAIR, STORY
from worlds import card, rows, write_stream

from synlearner.agent.cards import Card, load_stream, make_task
from synlearner.agent.reading import read_yaml
from synlearner.errors import ConfigError, SynLearnerError

GOOD = json.dumps({"text": "my cat sat down", "label": "pets"})


def write(folder: Path, *cards: dict[str, Any], **top: Any) -> Path:
    file = folder / "stream.yaml"
    file.write_text(json.dumps({"stream": "s", "tasks": list(cards), **top}), encoding="utf-8")
    return file


def refusal(file: Path) -> str:
    """Return the refusal of a stream: one line that begins with the file, and no other kind of error."""
    with pytest.raises(SynLearnerError) as caught:
        load_stream(file)
    assert type(caught.value) is ConfigError
    message = str(caught.value)
    assert message.startswith(f"{file}: ")
    assert "\n" not in message
    return message.removeprefix(f"{file}: ")


BAD_CARDS: dict[str, tuple[dict[str, Any], str]] = {
    "unknown key": ({"labelz": {}}, "unknown key 'labelz'; known: attributes, conflicts, description"),
    "missing field spec": ({"fields": None}, "key 'fields' is missing"),
    "no description": ({"description": None}, "key 'description' is missing"),
    "description of another type": ({"description": ["a"]}, r"key description=\['a'\]: input should be a valid string"),
    "unknown kind": ({"kind": "regression"}, "key kind='regression': input should be 'classification'"),
    "no kind": ({"kind": None}, "key 'kind' is missing"),
    "unknown key of a field": ({"fields": {"text": {"wrods": [1, 2]}}}, r"key fields\.text\.wrods"),
    "words reversed": ({"fields": {"text": {"words": [9, 3]}}}, r"key 'fields\.text': words \[9, 3\] run backwards"),
    "words of three": ({"fields": {"text": {"words": [1, 2, 3]}}}, r"key fields\.text\.words=\[1, 2, 3\]"),
    "words below one": ({"fields": {"text": {"words": [0, 3]}}}, r"key fields\.text\.words\.0=0"),
    "a field named label": ({"fields": {"label": {}}}, "fields: 'label' is the name of the label itself"),
    "two fields for one": ({"fields": {"text": {}, "more": {}}}, "fields: a classification has 1, not 2"),
    "no fields": ({"fields": {}}, "fields: a classification has 1, not 0"),
    "one label": ({"labels": {"pets": ""}}, "labels: a classification has at least 2, not 1"),
    "labels as a list": ({"labels": ["pets"]}, "labels map each name to its meaning"),
    "an empty label": ({"labels": {" ": "", "pets": ""}}, "key 'labels': a label is empty"),
    "labels that differ by case": ({"labels": {"pets": "", "Pets": ""}}, "key 'labels': label '[Pp]ets' stands twice"),
    "labels that differ by blanks": (
        {"labels": {"pets": "", "pets ": ""}},
        "key 'labels': label 'pets ?' stands twice",
    ),
    "a meaning that is no text": ({"labels": {"pets": 1, "weather": ""}}, r"key labels\.pets=1"),
    "a label without seed": (
        {"labels": {"pets": "", "weather": "", "sport": ""}},
        "seeds: no row has the label 'sport'",
    ),
    "a seed with another label": (
        {"seeds": [*rows(1), {"text": "a b c", "label": "sport"}]},
        "seeds row 3: label 'sport' is none of 'pets', 'weather'",
    ),
    "a seed without label": ({"seeds": [{"text": "a b c"}]}, "seeds row 1: label None is none of"),
    "a seed without field": ({"seeds": [{"label": "pets"}]}, "seeds row 1: field 'text' is missing or empty"),
    "a seed with an empty field": ({"seeds": [{"text": " ", "label": "pets"}]}, "seeds row 1: field 'text' is missing"),
    "a seed that is a number": ({"seeds": [{"text": 5, "label": "pets"}]}, r"key seeds\.0\.text=5"),
    "seeds of strings": ({"seeds": ["a"]}, "seeds: inline rows are mappings of field to text"),
    "seeds as a number": ({"seeds": 5}, "seeds: pass the path of a JSONL file, or rows"),
    "no seeds": ({"seeds": None}, "key 'seeds' is missing"),
    "empty seeds": ({"seeds": []}, "seeds: no row has the label 'pets'"),
    "attributes without values": ({"attributes": {"tone": []}}, "attributes: 'tone' has no values"),
    "attributes as text": ({"attributes": {"tone": "warm"}}, r"key attributes\.tone='warm'"),
    "attributes of no label": (
        {"label_attributes": {"sport": {"x": ["y"]}}},
        "label_attributes: 'sport' is none of the",
    ),
    "label attributes without values": ({"label_attributes": {"pets": {"age": []}}}, "attributes: 'age' has no values"),
    "no samples": ({"samples": 0}, "key samples=0: input should be greater than or equal to 1"),
    "too many samples": ({"samples": 10**7}, "key samples=10000000: input should be less than"),
    "a name with path characters": ({"name": "../a"}, "key 'name': a name is at most 64 letters"),
    "a name with a slash": ({"name": "a/b"}, "key 'name': a name is at most"),
    "a hidden name": ({"name": ".a"}, "key 'name': a name is at most"),
    "a name that is too long": ({"name": "a" * 65}, "key 'name': a name is at most 64"),
    "an empty name": ({"name": ""}, "key 'name': a name is at most"),
    "a name that is a number": ({"name": 5}, "key name=5: input should be a valid string"),
    "test rows that are strings": ({"test": ["a"]}, "test: inline rows are mappings"),
    "a test row with another label": ({"test": [{"text": "a", "label": "x"}]}, "test row 1: label 'x' is none of"),
    "a test row whose label is a list": (
        {"test": [{"text": "a", "label": ["x"]}]},
        r"test row 1: label \['x'\] is none",
    ),
    "a train row without field": ({"real_train": [{"label": "pets"}]}, "real_train row 1: field 'text' is missing"),
    "a file that is missing": ({"seeds": "nowhere.jsonl"}, r"seeds: .*nowhere\.jsonl: there is no such file"),
    "a test file that is missing": ({"test": "nowhere.jsonl"}, r"test: .*nowhere\.jsonl: there is no such file"),
    "a folder for a file": ({"test": "."}, "test: .*: cannot be read: Is a directory"),
    "a path that is none": ({"test": "a\0b"}, "test: .*: cannot be read: embedded null byte"),
}


@pytest.mark.parametrize("case", BAD_CARDS)
def test_a_wrong_card_is_refused_by_file_task_and_key(tmp_path: Path, case: str) -> None:
    changes, expected = BAD_CARDS[case]
    message = refusal(write(tmp_path, card() | changes))
    where = f"task {changes.get('name', 'topics')!r}: "
    assert message.startswith(where)
    assert re.match(expected, message.removeprefix(where)), message


BAD_KINDS = {
    "a pair with one field": (PAIR | {"fields": {"text": {}}}, "fields: a pair_classification has 2, not 1"),
    "a generation with labels": (STORY | {"labels": {"a": "", "b": ""}}, "labels: a generation has none"),
    "a generation without seeds": (STORY | {"seeds": []}, "seeds: there are none; give at least one example"),
    "a generation without fields": (STORY | {"fields": {}}, "fields: a generation has at least 1, not 0"),
}


@pytest.mark.parametrize("case", BAD_KINDS)
def test_every_kind_has_its_own_number_of_fields_and_labels(tmp_path: Path, case: str) -> None:
    tree, expected = BAD_KINDS[case]
    assert expected in refusal(write(tmp_path, tree))


BAD_LINES = {
    "a line that is not JSON": ([GOOD, "{text: a}"], "line 2 is not JSON"),
    "a line that is cut off": ([GOOD[:-1]], "line 1 is not JSON"),
    "a line that is a list": ([GOOD, "", "[1]"], "line 3 is not a JSON object"),
    "half a surrogate pair": (['{"text": "\\ud800", "label": "pets"}'], "line 1 is not JSON"),
    "a number of 5000 digits": (['{"text": ' + "1" * 5000 + "}"], "line 1 is not JSON"),
    "nesting": (["[" * 100_000], "line 1 is not JSON"),
    "nothing": ([""], "has no rows"),
    "blank lines": (["", " ", ""], "has no rows"),
}


@pytest.mark.parametrize("case", BAD_LINES)
@pytest.mark.parametrize("key", ["seeds", "test"])
def test_a_wrong_line_is_refused_by_file_and_line(tmp_path: Path, key: str, case: str) -> None:
    lines, expected = BAD_LINES[case]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines), encoding="utf-8")
    assert f"{key}: {tmp_path / 'rows.jsonl'} {expected}" in refusal(write(tmp_path, card(**{key: "rows.jsonl"})))


def test_a_row_file_that_is_not_utf8_is_refused_with_the_byte(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(GOOD.encode() + b'\n{"text": "caf\xe9"}')
    expected = f"test: {tmp_path / 'rows.jsonl'}: byte {len(GOOD) + 14} is not UTF-8: save the file as UTF-8"
    assert refusal(write(tmp_path, card(test="rows.jsonl"))).endswith(expected)


BAD_FILES = {
    "not a mapping": ("- a", "a stream is a mapping with the keys stream, description and tasks"),
    "empty": ("", "a stream is a mapping"),
    "another key": ("task: []", "unknown key 'task'; known: stream, description, tasks"),
    "a key that is a number": ("1: []", "unknown key '1'"),
    "no tasks": ("stream: s", "'tasks' is a list of at least one card"),
    "empty tasks": ("tasks: []", "'tasks' is a list of at least one card"),
    "a task that is a text": ("tasks: [a]", "task 1: a card is a mapping"),
    "no YAML": ("tasks: [", "line 1: expected the node content, but found '<stream end>'"),
    "a tab": ("tasks:\n\t- a", "line 2: found character '\\t' that cannot start any token"),
    "a key that stands twice": ("stream: a\nstream: b", "line 2: key 'stream' stands twice"),
    "a label that stands twice": ("tasks:\n- labels:\n    a: x\n    a: y", "line 4: key 'a' stands twice"),
    "labels that YAML reads as truth values": (
        "tasks: [{name: a, kind: classification, description: d, fields: {text: {}}, labels: {yes: , no: }, seeds: []}]",
        "task 'a': key 'labels': label True is not a text: put it in quotes",
    ),
    "a date that is none": ("stream: 2024-13-45", "a value is not what it looks like (month must be in 1..12)"),
    "a truth value that is none": ("stream: !!bool x", "a value is not what it looks like"),
    "a time that is none": ("stream: !!timestamp x", "a value is not what it looks like"),
    "a number that is none": ("stream: !!float x", "a value is not what it looks like"),
    "a tag that runs code": (
        "stream: !!python/object/apply:os.system [ls]",
        "line 1: could not determine a constructor",
    ),
    "half a surrogate pair": ('stream: "\\ud800"', "line 1: a text is not valid Unicode"),
    "deep lists": ("[" * 20_000, "nested too deeply"),
    "deep mappings": ("{a: " * 5_000, "nested too deeply"),
    "a list as key": ("? [a]\n: b", "line 1: found unhashable key"),
    "a control character": ("stream: a\x01b", "unacceptable character #x0001"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_wrong_stream_file_is_refused_by_line_or_key(tmp_path: Path, case: str) -> None:
    text, expected = BAD_FILES[case]
    (tmp_path / "stream.yaml").write_text(text, encoding="utf-8")
    assert expected in refusal(tmp_path / "stream.yaml")


@pytest.mark.parametrize(
    "seeds",
    ["[{text: 2024-01-01}]", "[{text: a, 1: b}]", "&rows [{text: *rows}]"],
    ids=["a date", "keys of two types", "itself"],
)
def test_inline_rows_that_are_no_texts_are_refused(tmp_path: Path, seeds: str) -> None:
    file = tmp_path / "stream.yaml"
    file.write_text(f"tasks: [{{name: a, kind: generation, description: d, fields: {{text: }}, seeds: {seeds}}}]")
    assert "task 'a': seeds: inline rows hold texts alone" in refusal(file)


def test_a_missing_stream_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.yaml") == "there is no such file"
    assert refusal(tmp_path) == "cannot be read: Is a directory"


def test_a_stream_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "stream.yaml").write_bytes("stream: café".encode("latin-1"))
    assert refusal(tmp_path / "stream.yaml") == "byte 11 is not UTF-8: save the file as UTF-8"


def test_yaml_may_merge_mappings(tmp_path: Path) -> None:
    file = tmp_path / "merged.yaml"
    file.write_text("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}")
    assert read_yaml(file)["b"] == {"x": 1, "y": 3}


@pytest.mark.parametrize("second", ["topics", "Topics"])
def test_two_tasks_of_one_name_are_refused(tmp_path: Path, second: str) -> None:
    assert "stands twice: names are unique in a stream" in refusal(write(tmp_path, card(), card(second)))


def test_a_task_without_name_is_named_by_its_number(tmp_path: Path) -> None:
    nameless = {key: value for key, value in card().items() if key != "name"}
    assert refusal(write(tmp_path, card(), nameless)) == "task 2: key 'name' is missing"


def test_a_card_of_a_program_with_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(ConfigError, match="card 'topics': a text is not valid Unicode"):
        make_task(card(description="a \ud800"), Path(), "card 'topics'")


# ---- what is taken -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_card_is_taken(tmp_path: Path, kind: str) -> None:
    (task,) = load_stream(write(tmp_path, KINDS[kind])).tasks
    assert task.card.kind == kind
    assert task.card.seeds == KINDS[kind]["seeds"]
    assert (task.test, task.real_train) == (None, None)


def test_a_text_with_a_unicode_line_break_is_one_row(tmp_path: Path) -> None:
    row = {"text": "one\u2028two\u0085three", "label": "pets"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row, ensure_ascii=False) + "\r\n" + GOOD, encoding="utf-8")
    data = load_stream(write(tmp_path, card(test="rows.jsonl"))).tasks[0].test
    assert data is not None
    assert data.rows == [row, json.loads(GOOD)]


def test_a_byte_order_mark_is_read_over(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    assert load_stream(write(tmp_path, card(test="rows.jsonl"))).tasks[0].test is not None


def test_seeds_keep_the_fields_and_the_label_alone() -> None:
    more = [row | {"source": "somewhere"} for row in rows(1)]
    assert make_task(card(seeds=more), Path(), "card").card.seeds == rows(1)


def test_the_digest_is_of_the_content_and_not_of_the_place(tmp_path: Path) -> None:
    first = load_stream(write_stream(tmp_path / "a"))
    assert load_stream(write_stream(tmp_path / "b")).digest() == first.digest()
    assert load_stream(write_stream(tmp_path / "c", samples=11)).digest() != first.digest()
    file = write_stream(tmp_path / "d")
    (tmp_path / "d" / "test.jsonl").write_text(GOOD, encoding="utf-8")
    assert load_stream(file).digest() != first.digest()


@pytest.mark.parametrize("kind", KINDS)
def test_a_card_comes_back_from_its_record_in_the_order_of_its_fields_and_labels(kind: str) -> None:
    """The log sorts the keys of a record."""
    made = make_task(KINDS[kind], Path(), "card").card
    found = Card.from_record(json.loads(json.dumps(made.record(), sort_keys=True)))
    assert found == made
    assert (list(found.fields), list(found.labels)) == (list(made.fields), list(made.labels))


def test_the_order_of_fields_is_a_part_of_what_is_asked_for(tmp_path: Path) -> None:
    turned = STORY | {"fields": dict(reversed(STORY["fields"].items()))}
    assert load_stream(write(tmp_path, STORY)).digest() != load_stream(write(tmp_path, turned)).digest()


def test_the_streams_on_real_data_are_taken(shared: Path) -> None:
    streams = {file.stem: load_stream(file) for file in sorted((shared / "streams").glob("*.yaml"))}
    assert len(streams) >= 4
    for stream in streams.values():
        for task in stream.tasks:
            assert {"test", "real_train"} <= task.files().keys()
            seeded = {row.get("label", "") for row in task.card.seeds}
            assert seeded == (set(task.card.labels) or {""})
