"""Records of the library's own loggers hold no secrets, whatever an application does with them."""

import logging

import pytest

import edge_wsd.llama.kernels
import edge_wsd.llama.library
import edge_wsd.models.pairs.known  # noqa: F401  (a logger is made when its module is imported)
from edge_wsd.redaction import HIDDEN, logger_without_secrets

SECRET = "hf_abcdefghijklmnopqrst"


def told(caplog: pytest.LogCaptureFixture) -> str:
    return "\n".join(caplog.handler.format(record) for record in caplog.records)


# Only the command line took secrets out of what it printed; an application's log had them.
@pytest.mark.parametrize(
    "name", ["edge_wsd.llama", "edge_wsd.llama.kernels", "edge_wsd.models.pairs.known", "edge_wsd.disk_cache"]
)
def test_a_record_is_without_secrets_for_every_handler(caplog, name):
    caplog.set_level(logging.DEBUG, logger=name)
    logging.getLogger(name).warning("cannot read %s: %d", f"https://me:{SECRET}@hub/", 7)
    assert SECRET not in told(caplog) and f"{HIDDEN}@hub/: 7" in told(caplog)
    assert all(SECRET not in str(record.args) for record in caplog.records)


def test_the_traceback_of_a_record_is_without_secrets(caplog):
    try:
        raise ValueError(f"Bearer {SECRET}")
    except ValueError:
        logger_without_secrets("edge_wsd.test").exception("failed")
    assert "Traceback" in told(caplog) and SECRET not in told(caplog)


def test_a_record_without_secrets_stays_as_it_is(caplog):
    logger_without_secrets("edge_wsd.test").warning("%s of %s", 3, 4)
    assert caplog.records[0].args == (3, 4)
    unfit = logging.LogRecord("edge_wsd.test", logging.WARNING, __file__, 1, "%d of %d", ("three",), None)
    assert logger_without_secrets("edge_wsd.test").filter(unfit)  # for `logging` itself to complain about


def test_the_head_of_an_answer_is_without_secrets(caplog):
    head = "[(b'Location', b'https://cdn/x?X-Amz-Signature=0123456789'), (b'x-xet-access-token', b'eyJhbGci.e30.c2ln')]"
    logger_without_secrets("edge_wsd.test").warning("%s", head)
    assert "0123456789" not in told(caplog) and "eyJ" not in told(caplog) and "https://cdn/x" in told(caplog)
