"""Mutants of the log core: does a test fail when a line of it is wrong?

    PYTHONPATH=tests python -m mutants              a seeded sample of 300, printed as one JSON object
    PYTHONPATH=tests python -m mutants --all        all of them (hours)

A mutant is one small change (`operators.py`), and it dies when a test fails, or does not come to an end. It meets the
quick tests that go through the changed lines, found by a run of all of them before (`survey.py`), up to a few seconds of
them: more tests could only kill more. Mutants that no test can tell from the original are listed with the reason
(`equivalent.py`).

Why not a library? `mutmut` 3.8 and `cosmic-ray` 8.7 were read, and not taken. `mutmut` names a module after the path of
its file, and `events/codec.py` is `synlearner.events.codec` here; it leaves alone what stands outside of functions, and
functions with decorators, where our transactions are; and it changes every text, which are messages for the most part.
`cosmic-ray` writes into the file itself, and begins pytest anew for each mutant with one command for all: the tests of
the whole log, or a file of settings for each module.
"""
