"""Mutants of the log core: does a test fail when a line of it is wrong?

    PYTHONPATH=tests python -m mutants              a seeded sample of 300, printed as one JSON object
    PYTHONPATH=tests python -m mutants --all        all of them (hours)

A mutant is one small change (`operators.py`), and it dies when a test fails, or does not come to an end. It meets the
quick tests that go through the changed lines, found by a run of all of them before (`survey.py`), up to a few seconds of
them: more tests could only kill more. Mutants that no test can tell from the original are listed with the reason
(`equivalent.py`).

Why not a library? With `mutmut` 3 and `cosmic-ray` 8 it was tried first. `mutmut` names a module after the path of its
file, and `events/codec.py` is `synlearner.events.codec` here; it leaves decorated functions alone, where our
transactions are; and most of its mutants are texts of messages. `cosmic-ray` changes the file in place, and begins
pytest anew for each mutant, with one command for all of them: here that is seconds before the first test.
"""
