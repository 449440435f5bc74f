"""Commentary for people who debug: event names and fields through the standard `logging` tree, silent by default.

The event log is the truth; this is not it. `logging.getLogger("synlearner").setLevel(logging.DEBUG)` shows it.
"""

import logging
from typing import Any

import structlog

logging.getLogger("synlearner").addHandler(logging.NullHandler())


def get_logger() -> Any:
    """Return the logger: `log.debug("action_performed", action=…)`."""
    return structlog.wrap_logger(
        logging.getLogger("synlearner"),
        processors=[structlog.stdlib.filter_by_level, structlog.processors.KeyValueRenderer(key_order=["event"])],
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
