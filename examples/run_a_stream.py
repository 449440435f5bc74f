"""Run a small stream with the real policy, export the data set, look at what was learnt.

    python examples/run_a_stream.py [HOME]

Needs the embedded models (`synlearner fetch`, once); takes a minute or two on two cores, offline.
"""

import sys
import tempfile
from pathlib import Path

from synlearner import Agent
from synlearner.agent.datasets import delivered_rows, export_dataset
from synlearner.events import Home

NAME = "kitchen_or_garden"
CARD = {
    "name": NAME,
    "kind": "classification",
    "description": "A short piece of advice about the house.",
    "fields": {"text": {"description": "one piece of advice", "words": [4, 20]}},
    "labels": {"kitchen": "about cooking and the kitchen", "garden": "about plants and the garden"},
    "seeds": [
        {"text": "Rinse rice until the water runs clear.", "label": "kitchen"},
        {"text": "Let the dough rest for an hour before you bake it.", "label": "kitchen"},
        {"text": "Sharpen your knives once a week.", "label": "kitchen"},
        {"text": "Salt the pasta water, not the sauce.", "label": "kitchen"},
        {"text": "Water tomatoes in the morning, not at noon.", "label": "garden"},
        {"text": "Cut roses back before the first frost.", "label": "garden"},
        {"text": "Turn the compost heap every two weeks.", "label": "garden"},
        {"text": "Plant carrots next to onions to keep flies away.", "label": "garden"},
    ],
}


def main(home: Path) -> None:
    """Synthesise twelve rows into *home* and print what came of it."""
    with Agent.open(home) as agent:
        rows = agent.synthesize(CARD, 12, settings=["loop.rounds=1", "loop.prompts=4", "loop.fill_rounds=2"])
        for row in rows:
            print(f"{row['label']:<8} {row['text']}")
        print("\nlearnt:")
        for item in agent.memory.get_all()["results"]:
            print(f"  {item['memory']}")
    with Home.open(home) as opened:
        out = home / "derived" / "data.jsonl"
        files = export_dataset(delivered_rows(opened.log, NAME), "jsonl", out, opened.blobs)
        print(f"\n{opened.log.head().seq} events, digest {opened.log.head().hash}")
    print("\n".join(str(file) for file in files))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="synlearner-")))
