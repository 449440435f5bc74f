"""The memory without the agent: learn, search, judge, and see the ranking follow. Offline, in seconds.

python examples/memory_alone.py [HOME]
"""

import sys
import tempfile
from pathlib import Path

from synlearner.errors import ModelError
from synlearner.memory import Embedder, HashEmbedder, Memory, default_embedder

LESSONS = {
    "Ask for reviews of one named scene: they differ more than reviews of a whole film.": "strategy",
    "Ask for reviews in the voice of a tired critic: short, dry, with one concrete detail.": "strategy",
    "Avoid the words 'positive' and 'negative' in reviews: they give the label away.": "pitfall",
    "Questions about prices need a currency, or the student learns to ignore numbers.": "lesson",
}
QUERY = "write short reviews of films"


def main(home: Path) -> None:
    """Show the memory at work in *home*."""
    with Memory.open(home, embedder=embedder(), mirror=False) as memory:
        for text, type_ in LESSONS.items():
            memory.add(text, type=type_, polarity=-1 if type_ == "pitfall" else 1, metadata={"from": "example"})
        results = show(memory, f"search {QUERY!r}")
        memory.feedback(results[1]["id"], 1.0, text="its data set trained the best student")
        memory.feedback(results[0]["id"], -0.5, text="all samples were alike")
        show(memory, "the same search after feedback")
        figures = memory.stats()
        print(f"{figures['active']} items, {figures['outcomes']} judgements, {figures['events']} events in the log")
        print(f"digest {memory.digest()[:16]}: another process that folds this log gets the same")


def embedder() -> Embedder:
    """Return MiniLM if it is fetched, else the one that needs no model."""
    try:
        return default_embedder()
    except ModelError as error:
        print(f"({error}; hashed trigrams stand in for it)")
        return HashEmbedder()


def show(memory: Memory, title: str) -> list[dict[str, str]]:
    """Print the results of the query and return them."""
    results = memory.search(QUERY, k=3, explain=True)["results"]
    print(title)
    for result in results:
        terms = result["explain"]
        print(
            f"  {result['score']:.2f} = likeness {terms['similarity']:.2f}, gain {terms['utility']:+.2f}"
            f" ± {terms['deviation']:.2f}: {result['memory']}"
        )
    return list(results)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            main(Path(folder) / "home")
