"""A round's samples as rows, each with the gate that it does not pass. Pure."""

from collections.abc import Sequence

from synlearner.agent.cards import Card, Row
from synlearner.agent.jsonform import parse_json
from synlearner.agent.parsing import copies, gate, joined, normal, parse, too_long
from synlearner.agent.rescue import whole_sentences
from synlearner.agent.wording import Known, Wording
from synlearner.events.types import PlannedPrompt, SampleGenerated


def read_sample(card: Card, sample: SampleGenerated, prompt: PlannedPrompt) -> Row:
    """Return the fields of a sample, or an empty row."""
    return parse_json(card, sample.text) if prompt.decoding.grammar else parse(card, sample.text, prompt.prefix)


def gated(
    card: Card,
    prompts: Sequence[PlannedPrompt],
    samples: Sequence[tuple[int, SampleGenerated]],
    earlier: Sequence[Row],
    *,
    rescue: bool,
) -> tuple[list[Row], list[str], list[bool]]:
    """Return each sample's row, why it cannot be used, and whether it was trimmed so that it can.

    None may say again what a seed or an *earlier* row says.
    """
    seen = {normal(joined(card, row)): "seed" for row in card.seeds}
    seen |= {normal(joined(card, row)): "sample" for row in earlier}
    known = Known(joined(card, row) for row in earlier)
    wording = Wording(card)
    rows, reasons, trimmed = [], [], []
    for _, sample in samples:
        prompt = prompts[sample.prompt]
        row, finish = read_sample(card, sample, prompt), sample.finish
        whole = whole_sentences(card, row) if rescue and finish != "error" else {}
        is_trimmed = bool(whole) and (finish == "length" or too_long(card, row))
        if is_trimmed:
            row, finish = whole, "stop"
        reason = gate(card, row, finish, prompt.label, seen) or wording.problem(row, prompt.attributes)
        if not reason and any(copies(text, [{"prompt": prompt.text}]) for text in row.values()):
            reason = "gate:copy_of_prompt"
        if not reason and known.holds(joined(card, row)):
            reason = "gate:copy_of_sample"
        if not reason:
            seen[normal(joined(card, row))] = "sample"
            known.add(joined(card, row))
        rows.append(row)
        reasons.append(reason)
        trimmed.append(is_trimmed)
    return rows, reasons, trimmed
