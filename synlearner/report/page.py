"""The page: the template filled with what the log tells."""

from pathlib import Path
from typing import Any

from synlearner.errors import ConfigError
from synlearner.events.files import cannot_write
from synlearner.events.log import EventLog
from synlearner.report.charts import charts
from synlearner.report.history import History, Task, read_history, sample_data

SAMPLES = 1000
"""Most samples of a task in its browser, unless told otherwise."""


def write_report(log: EventLog, out: Path, *, samples: int = SAMPLES) -> dict[str, Any]:
    """Write one self-contained page about *log* to *out*; return what it holds.

    Args:
        log: A whole history.
        out: An HTML file; what was there is replaced.
        samples: Most samples of each task in its browser, the delivered ones first.

    Raises:
        ConfigError: If there is nothing to report, or *out* is a folder.
        LogError: If the file cannot be written.
    """
    if out.is_dir():
        raise ConfigError(f"'{out}' is a folder: --out names an HTML file")
    if samples < 0:
        raise ConfigError(f"--samples {samples}: pass a number from 0 on")
    history = read_history(log.read())
    if not history.tasks:
        raise ConfigError("no task has arrived in this home: there is nothing to report yet")
    text = render(history, samples)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise cannot_write(out, error) from error
    return {"file": str(out), "events": history.events, "digest": history.digest, "tasks": len(history.tasks)}


def render(history: History, samples: int) -> str:
    """Return the page as HTML. Texts of samples are data: escaped in the markup, plain text in the browser."""
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415 - only a report needs it

    environment = Environment(
        loader=PackageLoader("synlearner.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda value: f"{value:.0%}"
    tasks = [_task_view(task, history, samples) for task in history.tasks]
    return environment.get_template("page.html").render(history=history, tasks=tasks)


def _task_view(task: Task, history: History, samples: int) -> dict[str, Any]:
    believed = sorted(task.believed.items(), key=lambda item: (-item[1][0], item[0]))
    return {
        "task": task,
        "charts": charts(task),
        "strategies": [(part, task.tried[part], mean, variance**0.5) for part, (mean, variance) in believed],
        "recalled": [(history.titles.get(item, item), count) for item, count in task.recalled.most_common()],
        "learned": [(item, task.gains.get(item.id)) for item in task.learned.values()],
        "samples": sample_data(task, samples),
        "finished": task.delivered is not None,
    }
