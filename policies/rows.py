"""One sample while it is written: its tokens, its text, its grammar, and whether it has ended."""

from dataclasses import dataclass, field

from synlearner.policies.engine import Request, Sample
from synlearner.policies.grammar import Matcher, grammars_of
from synlearner.policies.model import PolicyModel

BROKEN = "\N{REPLACEMENT CHARACTER}"
"""How a piece of a character decodes."""


@dataclass(slots=True)
class Row:
    """One sample while it is written."""

    request: Request
    group: int
    seed: int
    matcher: Matcher | None = None
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    text: str = ""
    finish: str = ""

    def begin(self, model: PolicyModel) -> None:
        """Set the grammar to its beginning, if there is one."""
        decoding = self.request.decoding
        self.matcher = grammars_of(model).matcher(decoding) if decoding.grammar else None

    def add(self, token: int, logprob: float, model: PolicyModel) -> None:
        """Take a drawn token, and notice the end."""
        self.token_ids.append(token)
        # Six decimals: far below float32 noise between sampler and trainer (about 1e-5), a third of the log's size.
        self.logprobs.append(round(logprob, 6))
        if token in model.end_tokens:
            self._end("stop", model.decode(self.token_ids[:-1]))
            return
        if self.matcher is not None and self.matcher.take(token) and self.matcher.is_complete:
            self._end("length" if self.matcher.is_cut else "stop", model.decode(self.token_ids))
            return
        stop = self.request.stop
        if stop and self._may_complete(stop, token, model):
            text = model.decode(self.token_ids)
            if stop in text.lstrip():
                self._end("stop", text)
                return
        if len(self.token_ids) == self.request.decoding.max_new_tokens:
            self._end("length", model.decode(self.token_ids))

    def _may_complete(self, stop: str, token: int, model: PolicyModel) -> bool:
        """Tell whether *token* could be the end of *stop*. Decoding everything at every token would be quadratic."""
        piece = model.piece(token)
        # A single token may decode without the blank it begins with.
        return not piece.strip() or stop[-1] in piece or stop[-1] == " " or BROKEN in piece

    def _end(self, finish: str, text: str) -> None:
        self.finish, self.text = finish, text

    def sample(self) -> Sample:
        """Return what was written."""
        return Sample(clip_at_stop(self.text, self.request.stop), self.token_ids, self.logprobs, self.finish)


def clip_at_stop(text: str, stop: str) -> str:
    """Return *text* before *stop*. One before the first word would leave nothing: leading blank lines are read over."""
    text = text.lstrip()
    return (text.split(stop, 1)[0] if stop else text).strip()
