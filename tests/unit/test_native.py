"""The native core against float64 numpy, with every implementation that this machine runs."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from edge_wsd import _native
from edge_wsd.errors import LogitsError

Floats = NDArray[np.float32]

SIZES = [1, 2, 7, 8, 15, 17, 31, 64, 511, 512, 513, 32_000, 128_256, 256_000]
MAX = float(np.finfo(np.float32).max)
TOLERANCE = 1e-5


@pytest.fixture(params=_native.available_isas())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    before = _native.isa()
    _native.force_isa(request.param)
    yield request.param
    _native.force_isa(before)


def oracle(row: Floats) -> NDArray[np.float64]:
    """Log-probabilities of a row without NaN and +inf."""
    exact = row.astype(np.float64)
    shifted = exact - exact.max()
    logprobs: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum())
    return logprobs


def assert_agrees(row: Floats, target: int) -> None:
    expected = oracle(row)
    logprob, greedy, greedy_logprob = _native.score_row(row.ctypes.data, row.size, target)
    assert greedy == int(np.argmax(row))
    assert greedy_logprob == pytest.approx(expected[greedy], rel=0, abs=TOLERANCE)
    # Huge differences of logits have no digits left at 1e-5, so they are compared as float64 numbers.
    assert logprob == pytest.approx(expected[target], rel=1e-14, abs=TOLERANCE)


def adversarial_rows(size: int) -> dict[str, Floats]:
    rng = np.random.default_rng(size)
    normal = rng.normal(0, 4, size).astype(np.float32)
    masked = normal.copy()
    masked[: size // 2] = -np.inf
    spike = np.full(size, -11.37, np.float32)
    spike[size // 2] = 0.1
    huge = np.full(size, -3e38, np.float32)
    huge[-1] = 3e38
    lowest = np.full(size, -np.inf, np.float32)
    lowest[-1] = -MAX
    return {
        "normal": normal,
        "wide": normal * 30,
        "ascending": np.sort(normal),
        "descending": -np.sort(-normal),
        "all equal": np.full(size, 0.3, np.float32),
        "all the lowest number": np.full(size, -MAX, np.float32),
        "all denormal": np.full(size, 1e-42, np.float32),
        "half masked": masked,
        "a spike over a flat floor": spike,
        "huge and hugely negative": huge,
        "one finite entry": lowest,
    }


@pytest.mark.parametrize("size", SIZES)
def test_every_implementation_agrees_with_float64_on_adversarial_rows(isa: str, size: int) -> None:
    for row in adversarial_rows(size).values():
        for target in {0, size // 2, size - 1}:
            assert_agrees(row, target)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_row_without_nan_agrees_with_float64(isa: str, data: st.DataObject) -> None:
    # A few short values repeated over a long row: both ties and every remainder of a vector are met.
    values = data.draw(
        hnp.arrays(
            np.float32,
            st.integers(1, 40),
            elements=st.floats(width=32, allow_nan=False, allow_infinity=False) | st.just(-np.inf),
        ).filter(lambda drawn: bool(np.isfinite(drawn).any()))
    )
    row = np.tile(values, data.draw(st.integers(1, 60)))
    assert_agrees(row, data.draw(st.integers(0, row.size - 1)))


def test_the_exponential_is_accurate_over_its_whole_range(isa: str) -> None:
    for gap in np.linspace(0, 100, 401, dtype=np.float32):
        row = np.full(4096, -gap, np.float32)
        row[1234] = 0
        assert_agrees(row, 0)


def test_a_tie_goes_to_the_lowest_id(isa: str) -> None:
    for size in (9, 700, 5000):
        row = np.zeros(size, np.float32)
        for high in (size - 1, size // 2, size // 3, 1):
            row[high] = 5
            assert _native.score_row(row.ctypes.data, size)[1] == high


def test_a_zero_ties_with_a_negative_zero(isa: str) -> None:
    row = np.array([-1, -0.0, 0.0], np.float32)
    assert _native.score_row(row.ctypes.data, 3)[1] == 1


def test_one_infinite_entry_is_certain(isa: str) -> None:
    row = np.zeros(1000, np.float32)
    row[600] = np.inf
    assert _native.score_row(row.ctypes.data, row.size, 600) == (0.0, 600, 0.0)
    assert _native.score_row(row.ctypes.data, row.size, 5) == (-np.inf, 600, 0.0)


def test_infinite_entries_share_the_probability(isa: str) -> None:
    row = np.zeros(1000, np.float32)
    row[[10, 200, 999]] = np.inf
    logprob, greedy, greedy_logprob = _native.score_row(row.ctypes.data, row.size, 999)
    assert logprob == greedy_logprob == pytest.approx(-np.log(3))
    assert greedy == 10


def test_a_masked_target_has_no_probability(isa: str) -> None:
    row = np.array([1, -np.inf, 2], np.float32)
    assert _native.score_row(row.ctypes.data, 3, 1)[0] == -np.inf


@pytest.mark.parametrize("size", [1, 8, 31, 513, 128_256])
@pytest.mark.parametrize("bits", [0x7FC00000, 0xFFC00000, 0x7FC00001, 0xFFFFFFFF])
def test_a_nan_anywhere_is_a_named_error(isa: str, size: int, bits: int) -> None:
    for where in {0, size // 2, size - 1}:
        row = np.ones(size, np.float32)
        row.view(np.uint32)[where] = bits
        with pytest.raises(LogitsError, match=f"^1 of {size} logits are NaN"):
            _native.score_row(row.ctypes.data, size, 0)


def test_a_nan_is_not_hidden_by_infinities(isa: str) -> None:
    for other in (np.inf, -np.inf):
        row = np.full(100, other, np.float32)
        row[42] = np.nan
        with pytest.raises(LogitsError, match="NaN"):
            _native.score_row(row.ctypes.data, row.size, 0)


def test_a_row_of_nothing_but_minus_infinity_is_a_named_error(isa: str) -> None:
    row = np.full(3000, -np.inf, np.float32)
    with pytest.raises(LogitsError, match="no finite logits among 3000"):
        _native.score_row(row.ctypes.data, row.size, 0)


def test_a_bad_row_of_a_chunk_is_named(isa: str) -> None:
    matrix = np.zeros((16, 100), np.float32)
    matrix[3, [7, 8]] = np.nan
    with pytest.raises(LogitsError, match="row 3 of 16: 2 of 100 logits are NaN"):
        _native.score_rows(matrix.ctypes.data, 16, 100, np.zeros(16, np.int32))


def test_a_chunk_is_its_rows(isa: str) -> None:
    matrix = np.random.default_rng(1).normal(0, 4, (17, 1003)).astype(np.float32)
    targets = np.arange(17, dtype=np.int32) * 50
    logprobs, greedy, greedy_logprobs = _native.score_rows(matrix.ctypes.data, 17, 1003, targets)
    assert [column.dtype.name for column in (logprobs, greedy, greedy_logprobs)] == [
        "float64",
        "int32",
        "float64",
    ]
    rows = [_native.score_row(matrix[i].ctypes.data, 1003, int(targets[i])) for i in range(17)]
    assert list(zip(logprobs, greedy, greedy_logprobs, strict=True)) == rows


def test_an_empty_chunk_needs_no_memory() -> None:
    columns = _native.score_rows(0, 0, 128_256, np.zeros(0, np.int32))
    assert [column.shape for column in columns] == [(0,), (0,), (0,)]


def test_without_a_target_the_logprob_is_nan() -> None:
    matrix = np.zeros((2, 10), np.float32)
    logprobs, greedy, _ = _native.score_rows(matrix.ctypes.data, 2, 10, np.array([-1, 4], np.int32))
    assert np.isnan(logprobs[0])
    assert logprobs[1] == pytest.approx(-np.log(10), abs=TOLERANCE)
    assert list(greedy) == [0, 0]


@pytest.mark.parametrize("target", [-2, 10, 2**40])
def test_a_target_outside_the_vocabulary_is_named(target: int) -> None:
    row = np.zeros(10, np.float32)
    with pytest.raises(ValueError, match=f"target is {target}; expected -1 .none. or a token id below 10"):
        _native.score_row(row.ctypes.data, 10, target)


def test_a_target_outside_the_vocabulary_is_named_in_a_chunk() -> None:
    matrix = np.zeros((3, 10), np.float32)
    with pytest.raises(ValueError, match=r"targets\[2\] is 10"):
        _native.score_rows(matrix.ctypes.data, 3, 10, np.array([1, 2, 10], np.int32))


def test_impossible_arguments_are_named() -> None:
    row = np.zeros(10, np.float32)
    none, one = np.zeros(0, np.int32), np.zeros(1, np.int32)
    with pytest.raises(ValueError, match="null"):
        _native.score_row(0, 10, 1)
    with pytest.raises(ValueError, match="not aligned"):
        _native.score_row(row.ctypes.data + 1, 9, 1)
    with pytest.raises(ValueError, match="n_vocab is 0"):
        _native.score_row(row.ctypes.data, 0)
    with pytest.raises(ValueError, match="n_rows is -1"):
        _native.score_rows(row.ctypes.data, -1, 10, none)
    with pytest.raises(ValueError, match="targets holds 1 ids; expected one for each of 2 rows"):
        _native.score_rows(row.ctypes.data, 2, 5, one)


def test_targets_of_another_type_are_not_converted() -> None:
    row = np.zeros(10, np.float32)
    targets: Any = np.zeros(1, np.int64)
    with pytest.raises(TypeError):
        _native.score_rows(row.ctypes.data, 1, 10, targets)


def test_an_unknown_implementation_is_refused() -> None:
    before = _native.isa()
    with pytest.raises(ValueError, match=r"'mmx'; it runs: .*portable"):
        _native.force_isa("mmx")
    assert _native.isa() == before


def test_the_row_is_read_where_it_lies() -> None:
    row = np.zeros(100, np.float32)
    assert _native.score_row(row.ctypes.data, 100)[1] == 0
    row[77] = 1
    assert _native.score_row(row.ctypes.data, 100)[1] == 77


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits the address space through Linux's /proc")
def test_a_chunk_is_scored_without_room_for_a_copy_of_it() -> None:
    script = """
        import mmap, re, resource
        import numpy as np
        from edge_wsd import _native

        rows, vocab = 512, 128_256  # 250 MiB that stay untouched zero pages
        matrix = np.frombuffer(mmap.mmap(-1, rows * vocab * 4, flags=mmap.MAP_PRIVATE), np.float32)
        targets = np.zeros(rows, np.int32)
        used = int(re.search(r"VmSize:\\s+(\\d+) kB", open("/proc/self/status").read()).group(1)) * 1024
        resource.setrlimit(resource.RLIMIT_AS, (used + 2**25, used + 2**25))
        try:
            matrix.copy()
        except MemoryError:
            logprobs, _, _ = _native.score_rows(matrix.ctypes.data, rows, vocab, targets)
            print(len(logprobs), "scored")
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "512 scored\n", "")


@pytest.mark.parametrize("call", ["score_row", "score_rows"])
def test_another_thread_runs_during_a_call(call: str) -> None:
    """No thread switch is forced here, so the other thread only runs where the call lets go of the GIL."""
    row = np.zeros(256_000, np.float32)
    target = np.zeros(1, np.int32)
    gate = threading.Lock()
    gate.acquire()
    ran: list[bool] = []

    def wait_and_run() -> None:
        with gate:
            ran.append(True)

    other = threading.Thread(target=wait_and_run)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    try:
        other.start()
        gate.release()
        attempts = 0
        while not ran and attempts < 20_000:
            attempts += 1
            if call == "score_row":
                _native.score_row(row.ctypes.data, row.size, 0)
            else:
                _native.score_rows(row.ctypes.data, 1, row.size, target)
        seen = bool(ran)
    finally:
        sys.setswitchinterval(interval)
        other.join()
    assert seen


def test_the_c_callback_tells_the_state_of_its_flag() -> None:
    poll = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p)(_native.CancelFlag.callback)
    flag, other = _native.CancelFlag(), _native.CancelFlag()
    assert flag.address != other.address
    assert (flag.is_set, poll(flag.address)) == (False, False)
    flag.set()
    assert (flag.is_set, poll(flag.address), poll(other.address)) == (True, True, False)
    flag.clear()
    assert (flag.is_set, poll(flag.address)) == (False, False)


def test_a_flag_set_in_another_thread_ends_a_polling_loop() -> None:
    poll = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p)(_native.CancelFlag.callback)
    flag = _native.CancelFlag()
    polling = threading.Event()

    def set_once_polled() -> None:
        polling.wait()
        flag.set()

    setter = threading.Thread(target=set_once_polled)
    setter.start()
    while not poll(flag.address):
        polling.set()
    setter.join()
    assert flag.is_set
