"""Under which licence a base model stands, as far as its own files say."""

from pathlib import Path

import yaml

from synlearner.agent.config import NOT_YAML
from synlearner.policies.fetch import MODELS

UNKNOWN = "unknown: see the model's page"


def licence_of(model: str) -> str:
    """Return the licence of an embedded model, or what the folder of another says; nothing is asked of the network."""
    if model in MODELS:
        return MODELS[model].licence
    folder = Path(model)
    try:
        named = _named(folder / "README.md")
        if named:
            return f"{named} (its README.md)"
        if any(path.name.upper().startswith(("LICENSE", "LICENCE")) for path in folder.iterdir()):
            return "see the licence file in the model's folder"
    except (OSError, ValueError):
        pass
    return UNKNOWN


def _named(page: Path) -> str:
    """Return the key `license` of the YAML block that a model page on the Hugging Face Hub begins with."""
    if not page.is_file():
        return ""
    lines = page.read_text(encoding="utf-8").splitlines()
    if lines[:1] != ["---"] or "---" not in lines[1:]:
        return ""
    try:
        block = yaml.safe_load("\n".join(lines[1 : lines.index("---", 1)]))
    except NOT_YAML:
        return ""
    name = block.get("license_name") or block.get("license") if isinstance(block, dict) else ""
    return " ".join(name.split())[:80] if isinstance(name, str) else ""
