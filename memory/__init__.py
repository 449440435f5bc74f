"""What was learnt, by likeness and by outcome: experience items, embedders, index, credit, recall.

`Memory` is the way in. State is a fold over the log of a home (`MemoryState`); the exact scan is the truth, and the
ChromaDB mirror is disposable. Imports no torch; tokenizers and chromadb only when they are used.
"""

from synlearner.memory.asynchronous import AsyncMemory
from synlearner.memory.credit import credit, joint_update
from synlearner.memory.embedders import Embedder, HashEmbedder, default_embedder, named_embedder
from synlearner.memory.experience import Experience
from synlearner.memory.index import ExactIndex, VectorIndex
from synlearner.memory.items import item_id, new_item
from synlearner.memory.memory import Memory
from synlearner.memory.minilm import MiniLM
from synlearner.memory.recall import RecallSettings, recall
from synlearner.memory.state import MemoryState, fold

__all__ = [
    "AsyncMemory",
    "Embedder",
    "ExactIndex",
    "Experience",
    "HashEmbedder",
    "Memory",
    "MemoryState",
    "MiniLM",
    "RecallSettings",
    "VectorIndex",
    "credit",
    "default_embedder",
    "fold",
    "item_id",
    "joint_update",
    "named_embedder",
    "new_item",
    "recall",
]
