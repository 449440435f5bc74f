"""A fake engine that ships with the product, so that users can test too."""

from collections.abc import Callable, Sequence

from synlearner.policies.engine import Progress, Request, Sample, hashed


class ScriptedEngine:
    """Writes whatever *reply* returns for (prompt text, seed). A function of both, so that runs repeat."""

    name = "scripted"

    def __init__(self, reply: Callable[[str, int], str], *, base_model: str = "scripted") -> None:
        self.base_model = base_model
        self._reply = reply

    def load(self, adapter: bytes | None) -> None:
        """Accept any adapter: the script does not change."""

    def generate(self, requests: Sequence[Request], *, progress: Progress | None = None) -> list[list[Sample]]:
        """Return the scripted group of each request."""
        groups = []
        tokens = ended = 0
        for request in requests:
            group = [self._sample(request, seed) for seed in request.seeds]
            groups.append(group)
            tokens += sum(len(sample.token_ids) for sample in group)
            ended += len(group)
            if progress:
                progress(tokens, ended)
        return groups

    def _sample(self, request: Request, seed: int) -> Sample:
        text = self._reply(request.text, seed)
        if request.stop:
            text = text.lstrip().split(request.stop, 1)[0]
        words = text.split(" ")
        cut = words[: request.decoding.max_new_tokens]
        # Token ids are hashes of words: enough for the loop, which never reads meaning from them.
        return Sample(" ".join(cut), hashed(cut), [], "stop" if len(cut) == len(words) else "length")
