"""The page "How memory decides": its recall is run, and done again with the numbers that stand there."""

import math
import re
from pathlib import Path
from typing import Any

import pytest

from synlearner.memory.recall import normal

PAGE = (Path(__file__).parents[2] / "docs" / "MEMORY.md").read_text(encoding="utf-8")
CODE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0]


def rows() -> list[dict[str, str]]:
    lines = [
        line.strip("| \n").split(" | ") for line in PAGE.splitlines() if re.match(r"\| (item|plain|slang) \|", line)
    ]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    names: dict[str, Any] = {"home": tmp_path_factory.mktemp("page") / "home"}
    exec(CODE, names)  # noqa: S102 - the page's own example
    return names


def test_the_table_is_what_the_recall_recorded(ran: dict[str, Any]) -> None:
    fact = ran["fact"]
    assert [ran[row["item"]] for row in rows()] == [candidate.item for candidate in fact.candidates]
    for row, candidate in zip(rows(), fact.candidates, strict=True):
        for column, value in {
            "similarity": candidate.similarity, "lexical": candidate.lexical, "rank": candidate.dense_rank,
            "lexical rank": candidate.lexical_rank, "relevance": candidate.relevance, "mean": candidate.utility,
            "deviation": candidate.deviation, "normal": normal(fact.seed, candidate.item), "teaches": candidate.score * 1.3 / candidate.relevance - 1 - candidate.draw,
            "draw": candidate.draw,
            "score": candidate.score,
        }.items():  # fmt: skip
            assert float(row[column]) == pytest.approx(value, abs=6e-7), (row["item"], column)
        assert (row["chosen"] == "yes") == candidate.chosen
    assert ran["bread"] not in [candidate.item for candidate in fact.candidates]


def test_the_formulas_of_the_page_give_its_numbers() -> None:
    for row in rows():
        x = {name: float(value) for name, value in row.items() if name not in ("item", "chosen")}
        fusion = 61 / 2 * (1 / (60 + x["rank"]) + 1 / (60 + x["lexical rank"]))
        assert max(x["similarity"], x["lexical"]) * (1 + fusion) / 2 == pytest.approx(x["relevance"], abs=2e-6)
        assert x["mean"] + 0.12 * x["deviation"] * x["normal"] == pytest.approx(x["draw"], abs=2e-6)
        bounded = max(-0.3, min(0.3, x["draw"] + x["teaches"]))
        assert x["relevance"] * (1 + bounded) / 1.3 == pytest.approx(x["score"], abs=2e-6)


def test_what_an_outcome_teaches_is_as_the_page_says() -> None:
    plain, slang = (
        {name: float(value) for name, value in row.items() if name not in ("item", "chosen")} for row in rows()
    )
    cut = sum(x["relevance"] * (1 + x["mean"]) / 1.3 for x in (plain, slang)) / 2
    for x in (plain, slang):
        level, variance = cut * 1.3 / x["relevance"] - 1, x["deviation"] ** 2
        density = math.exp(-((level - x["mean"]) ** 2) / variance / 2) / (x["deviation"] * math.sqrt(2 * math.pi))
        assert 8 / 2 * density * variance**2 / (0.0625 + variance) == pytest.approx(x["teaches"], abs=2e-6)
    assert f"at {cut:.4f}".replace(" 0", " ") in PAGE


def test_the_recorded_recall_can_be_asked_again(ran: dict[str, Any]) -> None:
    from synlearner.memory import HashEmbedder, Memory  # noqa: PLC0415 - as the page imports them

    with Memory.open(ran["home"], write=False, embedder=HashEmbedder(64)) as memory:
        assert memory.check_recall(ran["fact"], memory.state)


def test_the_figures_of_the_text_are_right(ran: dict[str, Any]) -> None:
    """Standing and words, from the formulas alone."""
    two, one = math.log(1 + 1.5 / 2.5), math.log(1 + 2.5 / 1.5)
    most = (2 * two + one) * 2.2
    share = 2.2 / (1 + 1.2 * (0.25 + 0.75 * 7 / (20 / 3)))
    figures = {
        "mean = .0225 / (.0225 + .0625) x 1 = .2647": 0.0225 / 0.085, "variance = .0225 x .0625 / .085 = .01654":
        0.0225 * 0.0625 / 0.085, "deviation .1286": (0.0225 * 0.0625 / 0.085) ** 0.5, "= .4700": two, "so ln(1 + 2.5 / 1.5) = .9808":
        one, "x 2.2 = 4.2258": most, "= .97996 of its idf": share, "x .97996 = .9212": 2 * two * share,
        ".9212 / 4.2258 = .2180": 2 * two * share / most,
    }  # fmt: skip
    text = " ".join(PAGE.split())
    for words, value in figures.items():
        assert words in text
        assert float(re.findall(r"\d*\.\d+", words.removesuffix(" of its idf"))[-1]) == pytest.approx(value, rel=3e-4)
    plain = next(each for each in ran["fact"].candidates if each.item == ran["plain"])
    assert plain.lexical == pytest.approx(2 * two * share / most, abs=1e-9)
