"""What can be said about an item or a memory: its history, its standing, the figures. Reads; changes nothing."""

import math
from collections import Counter
from statistics import NormalDist
from typing import Any

from synlearner.events.log import EventLog
from synlearner.events.types import (
    Event,
    ExperienceCredited,
    ExperienceDecayed,
    ExperienceLearned,
    ExperienceMerged,
    ExperienceRecalled,
    ExperienceRetired,
    ExperienceSplit,
    FeedbackGiven,
)
from synlearner.memory.items import result_of
from synlearner.memory.records import MICRO, Record
from synlearner.memory.regression import noise_of
from synlearner.memory.state import MemoryState


def standing_of(record: Record) -> dict[str, Any]:
    """Return the posterior of the gain (in units of the outcome) and the counters of an item."""
    deviation = math.sqrt(record.variance)
    return {
        "utility": record.mean,
        "deviation": deviation,
        "harm_probability": NormalDist(record.mean, deviation).cdf(0.0) if deviation else float(record.mean < 0),
        "recalled": record.recalled,
        "uses": record.uses,
        "helpful": record.helpful,
        "harmful": record.harmful,
    }


def status_of(record: Record) -> str:
    """Return `active`, `retired`, `superseded` or `merged`."""
    if record.retired:
        return "retired"
    return "superseded" if record.superseded_by else "merged" if record.merged_into else "active"


def gain_of_memory(state: MemoryState) -> dict[str, Any] | None:
    """Return what memory was worth to a prompt, by the control arm: chance decided who was planned without it.

    The mean over families of (mean outcome with memory - without it), weighted by the outcomes without, with a 95 %
    interval from the variance within families; None while no family has both.
    """
    total = weight = variance = 0.0
    noise = noise_of(state)
    control = memory = 0
    for family in state.families.values():
        if family.control and family.memory:
            difference = family.memory_total / family.memory - family.control_total / family.control
            total += family.control * difference / MICRO
            variance += family.control**2 * noise * (1 / family.memory + 1 / family.control)
            weight += family.control
            control += family.control
            memory += family.memory
    if not weight:
        return None
    estimate, error = total / weight, 1.96 * math.sqrt(variance) / weight
    return {
        "estimate": estimate,
        "interval": [estimate - error, estimate + error],
        "memory": memory,
        "control": control,
    }


def explain(record: Record, log: EventLog) -> dict[str, Any]:
    """Return all that is known of an item, down to the events that it comes from."""
    origin = log.get(record.learned)
    return result_of(record) | {
        "status": status_of(record),
        "standing": standing_of(record),
        "evidence": record.item.evidence,
        "provenance": {
            "learned": record.learned,
            "run_id": origin.run_id,
            "task": origin.task,
            "causes": list(origin.causes),
            "embedder": record.embedder,
            "vector": record.vector,
            "supersedes": record.supersedes,
            "superseded_by": record.superseded_by,
            "merged_into": record.merged_into,
            "parents": record.parents,
            "retired": record.retired,
            "reason": record.reason,
        },
    }


def history(item: str, state: MemoryState, log: EventLog) -> list[dict[str, Any]]:
    """Return what happened to an item, its earlier texts and its later ones, oldest first. Reads the whole log."""
    family, waiting = {item}, [item]
    while waiting:
        record = state.records[waiting.pop()]
        near = {record.supersedes, record.superseded_by, record.merged_into} & state.records.keys()
        waiting += sorted(near - family)
        family |= near
    return [entry for event in log.read() for entry in _entries(event, family)]


def statistics(state: MemoryState) -> dict[str, Any]:
    """Return the figures of a memory."""
    active = [record for record in state.records.values() if record.active]
    return {
        "items": len(state.records),
        "active": len(active),
        "retired": sum(record.retired > 0 for record in state.records.values()),
        "superseded": sum(record.superseded_by != "" for record in state.records.values()),
        "merged": sum(record.merged_into != "" for record in state.records.values()),
        "types": dict(sorted(Counter(record.item.type for record in active).items())),
        "avoid": sum(record.item.polarity < 0 for record in active),
        "scopes": dict(sorted(Counter(record.item.scope for record in active).items())),
        "untried": sum(record.uses == 0 for record in active),
        "helpful": sum(record.mean > math.sqrt(record.variance) for record in active),
        "harmful": sum(record.mean < -math.sqrt(record.variance) for record in active),
        "outcomes": sum(family.outcomes for family in state.families.values()),
        "families": len(state.families),
        "gain": gain_of_memory(state),
        "embedder": state.embedder,
        "events": state.seq,
    }


def _entries(event: Event, family: set[str]) -> list[dict[str, Any]]:
    """Return what *event* means for the items in *family*."""
    base = {"seq": event.seq, "time": event.observed.get("time")}
    match event.fact:
        case ExperienceLearned(item=item, supersedes=old) if item.id in family:
            return [base | {"event": "UPDATE" if old else "ADD", "id": item.id, "memory": item.content}]
        case ExperienceRecalled(chosen=chosen, query=query):
            return [base | {"event": "RECALL", "id": item, "query": query} for item in chosen if item in family]
        case ExperienceCredited(credits=credits_, outcome=outcome, baseline=baseline):
            terms = {"event": "CREDIT", "outcome": outcome, "baseline": baseline}
            return [base | terms | {"id": c.item, "utility": c.mean} for c in credits_ if c.item in family]
        case FeedbackGiven(target=target) as given if target.removeprefix("item:") in family:
            return [base | {"event": "FEEDBACK", "id": target[5:], "score": given.score, "text": given.text}
                    | {"source": given.source}]  # fmt: skip
        case ExperienceMerged(item=item, into=into) if {item, into} & family:
            return [base | {"event": "MERGE", "id": item, "into": into}]
        case ExperienceSplit(item=item) if item in family:
            return [base | {"event": "SPLIT", "id": item}]
        case ExperienceDecayed(credits=credits_):
            return [base | {"event": "DECAY", "id": c.item, "utility": c.mean} for c in credits_ if c.item in family]
        case ExperienceRetired(item=gone, reason=reason) if gone in family:
            return [base | {"event": "DELETE", "id": gone, "reason": reason}]
    return []
