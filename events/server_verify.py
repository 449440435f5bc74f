"""Is all of a home in PostgreSQL what was written? See `synlearner.events.verify`."""

from msgspec import structs

from synlearner.events.addresses import Address
from synlearner.events.anchor import Anchor
from synlearner.events.home import ANCHOR, LOG
from synlearner.events.postgres import PostgresLog
from synlearner.events.server_blobs import blobs_on_server
from synlearner.events.verify import Report, Survey


def verify_on_server(address: Address) -> Report:
    """Check the home at *address*, without the writer's lock: see `verify`."""
    survey = Survey(address.folder())
    survey.store = blobs_on_server(address)
    survey.anchored = Anchor(address.folder() / ANCHOR).read()
    log = PostgresLog(address, anchor=None, write=False)
    try:
        survey.look_at_events(log)
    finally:
        log.close()
        survey.store.close()
    if survey.anchored:  # each machine has its own, of what it has seen acknowledged
        survey.look_at_anchor()
    report = survey.done()
    problems = [structs.replace(each, file="events" if each.file == LOG else each.file) for each in report.problems]
    return structs.replace(report, problems=problems)
