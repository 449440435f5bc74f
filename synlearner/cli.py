"""The command line: results on stdout, everything else on stderr. The only file that prints.

Exit codes: 0 done, 1 refused with a one-line reason, 2 usage, 3 the log or a blob cannot be trusted, 130 interrupted.
"""

import json
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from synlearner.arguments import make_parser
from synlearner.errors import SynLearnerError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = make_parser().parse_args(argv)
    if arguments.verbose:
        import logging  # noqa: PLC0415 - only for who asks

        logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(name)s %(message)s")
        logging.getLogger("synlearner").setLevel(logging.DEBUG)
    try:
        result = arguments.perform(arguments)
        output = json.dumps(result.data, ensure_ascii=False, indent=2) if arguments.json else result.text
        if output:
            print(output)
        sys.stdout.flush()
    except SynLearnerError as error:
        print(f"synlearner: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("synlearner: interrupted; nothing is lost: run the same command again to go on", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader has left (`| head`). Python would complain once more while it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return int(result.code)


def entry() -> NoReturn:
    """Run one command and end the process at once.

    Everything is closed and on disk by now, and taking torch and chromadb down takes another second or more. Whoever
    kills the process then believes the run unfinished, and by the same command starts another.
    """
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    entry()
