"""What each command does: functions of the parsed arguments that return a `Result`. None of them prints.

Heavy imports stand inside the functions: `--help` and `log tail` answer at once.
"""

from synlearner.commands.result import Result

__all__ = ["Result"]
