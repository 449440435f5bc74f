"""The figures of a report, as SVG in a data URI: the page needs nothing but itself."""

from base64 import b64encode
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

from synlearner.agent.rewards import RAW
from synlearner.events.types import JudgesCompared, StudentScored
from synlearner.report.history import Round, Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STYLE: dict[Any, Any] = {
    "svg.hashsalt": "synlearner",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
}
"""The salt makes equal logs give equal bytes."""

SOURCES = ("delivered", "seeds", "seeds_and_delivered", "untrained", "real")
"""What a student was trained on, from top to bottom."""


def charts(task: Task) -> list[tuple[str, str]]:
    """Return (what it shows, data URI) of each figure that there is something to draw for."""
    own = [round_ for round_ in task.rounds if round_.purpose != "reference" and round_.scored]
    made = []
    if own:
        made.append(("Mean raw reward parts and share accepted, by round", _draw(lambda axes: _parts(axes, own))))
    if any("vendi" in round_.diversity for round_ in own):
        made.append(("Diversity (Vendi score) of a round's valid samples", _draw(lambda axes: _vendi(axes, own))))
    judged = [round_.judged for round_ in own if round_.judged]
    if judged:
        title = "Fidelity of accepted samples by the judge, and by one that no reward sees"
        made.append((title, _draw(lambda axes: _judges(axes, judged))))
    on_seeds = [student for student in task.students if student.split == "seeds"]
    if len({student.trained_on for student in on_seeds}) > 1:
        title = "Students on what was accepted so far, scored on the seeds"
        made.append((title, _draw(lambda axes: _growth(axes, on_seeds, "accepted samples"))))
    on_test = [student for student in task.students if student.split == "test" and student.source != "curve"]
    if on_test:
        title = "Students scored on the test data, with 95 % intervals"
        made.append((title, _draw(lambda axes: _students(axes, on_test))))
    curve = [student for student in task.students if student.source == "curve"]
    if curve:
        families = {student.family for student in curve}
        curve += [student for student in on_test if student.source == "delivered" and student.family in families]
        title = "Students on ever more of the delivered samples, scored on the test data"
        made.append((title, _draw(lambda axes: _growth(axes, curve, "delivered samples"))))
    return made


def _draw(plot: Callable[["Axes"], None]) -> str:
    from matplotlib import rc_context  # noqa: PLC0415 - only a report needs it
    from matplotlib.figure import Figure  # noqa: PLC0415

    with rc_context(STYLE):
        figure = Figure(figsize=(4.6, 2.7), layout="constrained")
        axes = figure.add_subplot()
        plot(axes)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        out = BytesIO()
        figure.savefig(out, format="svg", metadata={"Date": None}, transparent=True)
    return f"data:image/svg+xml;base64,{b64encode(out.getvalue()).decode()}"


def _rounds_axis(axes: "Axes", rounds: Sequence[Round]) -> list[int]:
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415 - only a report needs it

    numbers = [round_.number for round_ in rounds]
    axes.set_xlabel("round")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    learning = [round_.number for round_ in rounds if round_.purpose == "learn"]
    if learning:
        axes.axvspan(min(learning) - 0.5, max(learning) + 0.5, color="#000", alpha=0.05, lw=0)
    return numbers


def _parts(axes: "Axes", rounds: Sequence[Round]) -> None:
    numbers = _rounds_axis(axes, rounds)
    names = sorted({name for round_ in rounds for name in round_.parts} - RAW)
    for name in names:
        axes.plot(numbers, [round_.parts.get(name, float("nan")) for round_ in rounds], marker="o", ms=3, label=name)
    shares = [round_.accepted / round_.scored for round_ in rounds]
    axes.plot(numbers, shares, marker="s", ms=3, ls="--", color="#666", label="accepted")
    axes.set_ylim(top=1.02)
    axes.legend(frameon=False, fontsize=7, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))


def _vendi(axes: "Axes", rounds: Sequence[Round]) -> None:
    numbers = _rounds_axis(axes, rounds)
    axes.plot(numbers, [round_.diversity.get("vendi", float("nan")) for round_ in rounds], marker="o", ms=3)
    axes.set_ylim(bottom=0)


def _judges(axes: "Axes", judged: Sequence[JudgesCompared]) -> None:
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415 - only a report needs it

    numbers = [fact.round for fact in judged]
    axes.plot(numbers, [fact.training for fact in judged], marker="o", ms=3, label="judge")
    axes.plot(numbers, [fact.held_out for fact in judged], marker="o", ms=3, label="held-out judge")
    alarms = [fact for fact in judged if fact.alarm]
    if alarms:
        high = [fact.training for fact in alarms]
        axes.plot(
            [fact.round for fact in alarms], high, "x", color="#c00", ms=8, label="alarm: the policy learns the judge"
        )
    usual = judged[0].untrained_training - judged[0].untrained_held_out
    axes.set_title(f"they differ by {usual:+.2f} on the untrained policy's", fontsize=7)
    axes.set_xlabel("round")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, fontsize=7)


def _growth(axes: "Axes", students: Sequence[StudentScored], of_what: str) -> None:
    for family in sorted({student.family for student in students}):
        mine = [student for student in students if student.family == family]
        axes.plot([s.trained_on for s in mine], [s.accuracy for s in mine], marker="o", ms=3, label=family)
    axes.set_xlabel(of_what)
    axes.set_ylabel("accuracy")
    axes.legend(frameon=False, fontsize=7)


def _students(axes: "Axes", students: Sequence[StudentScored]) -> None:
    families = sorted({student.family for student in students})
    sources = [source for source in SOURCES if any(student.source == source for student in students)]
    sources += sorted({student.source for student in students} - set(sources))
    step = 0.6 / max(len(families), 1)
    for place, family in enumerate(families):
        mine = {student.source: student for student in students if student.family == family}
        drawn = [source for source in sources if source in mine]
        heights = [-sources.index(source) - place * step for source in drawn]
        middles = [mine[source].accuracy for source in drawn]
        low = [max(0.0, mine[source].accuracy - mine[source].interval[0]) for source in drawn]
        high = [max(0.0, mine[source].interval[1] - mine[source].accuracy) for source in drawn]
        axes.errorbar(middles, heights, xerr=[low, high], fmt="o", ms=4, capsize=2, label=family)
    axes.set_yticks([-i - step * (len(families) - 1) / 2 for i in range(len(sources))], sources)
    axes.set_xlabel("accuracy")
    axes.legend(frameon=False, fontsize=7)
