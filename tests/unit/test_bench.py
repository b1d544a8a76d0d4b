"""`edge_wsd.bench` without models: what is measured, medians and ratios, clocks, tables, what peers print."""

import csv
import io
import json
from types import SimpleNamespace

import pytest

from edge_wsd.bench.cases import FULL, NEVER, BenchCase, Sweep, Workload
from edge_wsd.bench.figures import Figures, Summary, ratio, summary
from edge_wsd.bench.machine import BenchMachine
from edge_wsd.bench.pass_clock import PassClock
from edge_wsd.bench.prompts import BareTemplate, messages_of, prompt_of
from edge_wsd.bench.results import BenchPair, BenchResults, BenchRow
from edge_wsd.bench.table import comma_separated, decimals, markdown
from edge_wsd.errors import BenchError

WORK = Workload(32, 16)
SETTINGS = {"drafter": {"threads": 1, "kv_type": "f16"}, "base": {"threads": 2, "kv_type": "f16"}}


# What is measured


def test_the_first_value_of_each_list_is_kept_while_another_is_varied():
    sweep = Sweep(prompts=(32, 512), answers=(64, 8), switches=(6, 12), at_once=(1, 4), proposals=(None,))
    found = {
        (case.workload.n_prompt, case.workload.n_answer, case.switch_at, case.workload.at_once)
        for case in sweep.cases()
        if case.writer == "wsd"
    }
    assert found == {(32, 64, 6, 1), (512, 64, 6, 1), (32, 8, 6, 1), (32, 64, 12, 1), (32, 64, 6, 4)}


def test_cross_tries_every_value_with_every_other():
    sweep = Sweep(
        prompts=(32, 512), answers=(64, 32), switches=(6, 12), at_once=(1, 4), proposals=(0, None), cross=True
    )
    assert sum(case.writer == "wsd" for case in sweep.cases()) == 2**5
    assert sum(case.writer == "base" for case in sweep.cases()) == 2**3


@pytest.mark.parametrize("sweep", [Sweep(), FULL, Sweep(switches=(6, 32, 128), answers=(32,))])
def test_no_row_comes_twice_and_each_workload_has_its_base_first(sweep):
    cases = sweep.cases()
    assert len(set(cases)) == len(cases)
    seen = set()
    for case in cases:
        assert case.workload in seen or case.writer == "base"
        seen.add(case.workload)


def test_a_switch_behind_the_answer_is_never():
    cases = Sweep(prompts=(32,), answers=(16,), switches=(NEVER, 16, 40), proposals=(0, None)).cases()
    both = [case for case in cases if case.writer == "wsd"]
    assert [case.never_switches for case in both] == [True]
    assert both[0].options().switch_at == 16 and both[0].options().max_draft == 16


def test_k_is_what_the_options_say():
    said = {
        k: (options.speculation, options.propose)
        for k in (0, 3, None)
        for options in [BenchCase(WORK, "wsd", 6, k).options()]
    }
    assert said == {0: (False, 0), 3: (True, 3), None: (True, None)}


# Figures


def test_a_summary_is_the_median_and_half_of_the_spread():
    found = Summary.of([5.0, 1.0, 2.0])
    assert (found.median, found.spread) == (2.0, 2.0)


def test_a_repetition_that_lacks_a_figure_does_not_count():
    """An adaptive k proposes nothing in some repetitions, and the share of what was accepted was left out for all."""
    assert Summary.of([1.0, None, 3.0]).median == 2.0 and Summary.of([None]) is None and Summary.of([]) is None


def test_a_ratio_is_taken_within_each_repetition():
    """The ratio of medians would be 2: the machine got ten times slower in the second repetition."""
    one = [Figures(1, 1), Figures(40, 1), Figures(2, 1)]
    other = [Figures(1, 1), Figures(10, 1), Figures(1, 1)]
    assert ratio(one, other, "token_s").median == 2 and ratio(one[:2], other[:2], "token_s").median == 2.5


def test_an_answer_that_ends_early_is_compared_by_its_tokens():
    assert ratio([Figures(2, 4)], [Figures(4, 8)], "token_s").median == 1


def test_no_tokens_have_no_time():
    assert summary([Figures(1.0, 0)], "token_s") is None and ratio([Figures(1, 0)], [Figures(1, 1)], "token_s") is None


# The clock


def test_a_pass_over_prompt_and_answer_counts_for_each_by_its_tokens():
    context = SimpleNamespace(on_pass=None)
    with PassClock(context) as clock:
        context.on_pass([(0, 30)], 3.0)  # prompt alone
        context.on_pass([(30, 10)], 1.0)  # two of the prompt, eight behind it
        context.on_pass([(40, 1), (0, 4)], 0.5)  # a step of one text beside the prompt of another
    assert context.on_pass is None
    assert clock.computing_s == 4.5
    prompt, behind = clock.rates(32)
    assert prompt == pytest.approx(36 / (3.0 + 0.2 + 0.4)) and behind == pytest.approx(9 / (0.8 + 0.1))


def test_a_model_that_read_nothing_has_no_rate():
    context = SimpleNamespace(on_pass=None)
    with PassClock(context) as clock:
        pass
    assert clock.rates(32) == (None, None) and clock.n_passes == 0


# Prompts


@pytest.mark.parametrize("count", [len, lambda text: len(text.split()), lambda text: 2 + len(text.encode())])
@pytest.mark.parametrize("n_tokens", [16, 32, 511])
def test_a_prompt_has_exactly_its_tokens(count, n_tokens):
    texts = [prompt_of(n_tokens, number, count) for number in range(8)]
    assert [count(text) for text in texts] == [n_tokens] * 8
    assert len({text[:8] for text in texts}) == 8, "answers at once would share their prompts' beginnings"


def test_a_prompt_that_no_text_can_have_is_refused():
    with pytest.raises(BenchError, match="a prompt of 3 tokens is too short"):
        prompt_of(3, 0, len)


def test_a_prompt_is_rendered_as_it_is():
    """The first drafted token was once split: white space at the beginning of an answer is dropped."""
    messages = messages_of("list 0 files")
    assert BareTemplate().render(messages) == "list 0 files"
    assert messages[-1].role == "assistant" and messages[-1].content


# The table


def results(n=2, **changes):
    machine = BenchMachine(
        "2026-01-01", "A Processor", "2 physical", ("CPU",), ("CPU",), "1.0", "0.3", "0.5", "AVX2 = 1 |"
    )
    found = BenchResults(machine, n)
    found.pairs.append(BenchPair("a|b", "d.gguf", "b.gguf", 10, 100, 0.8, False, SETTINGS))
    rows = {
        "base": [Figures(4.0, 16, ttft_s=1.0, base_decode_tps=5.0), Figures(8.0, 16, ttft_s=3.0, base_decode_tps=4.0)],
        "drafter": [Figures(1.0, 16, ttft_s=0.1), Figures(1.0, 16, ttft_s=0.2)],
        "wsd": [Figures(2.0, 16, ttft_s=0.2, accepted=0.5), Figures(2.0, 8, ttft_s=0.2, accepted=1.0)],
    }
    for writer, figures in rows.items():
        case = BenchCase(WORK, writer, 6 if writer == "wsd" else None)
        found.rows.append(BenchRow("a|b", WORK, case.name, case, figures[:n]))
    found.rows.append(BenchRow("a|b", WORK, "llama-bench", None, [Figures(4.0, 16)] * n))
    return found


def cells_of(text):
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    table = [[cell.strip() for cell in line.replace("\\|", "/").strip("|").split("|")] for line in lines]
    return [dict(zip(table[0], row, strict=True)) for row in table[2:]]


def test_the_table_has_medians_spreads_and_ratios():
    base, _, wsd, peer = cells_of(markdown(results()))
    assert (base["answer s"], base["÷ base"], base["tokens"]) == ("6.00 ±2.00", "1.00", "16")
    assert (wsd["row"], wsd["switch"], wsd["÷ base"], wsd["accepted %"]) == ("wsd k=auto", "6", "0.50", "75")
    assert (wsd["first ÷ drafter"], wsd["pair"], wsd["agrees %"]) == ("1.50", "a/b", "80")
    assert (peer["row"], peer["first token ms"], peer["÷ base"]) == ("llama-bench", "", "0.75")


def test_a_column_without_figures_is_left_out_and_the_header_says_on_what():
    text = markdown(results())
    assert "device MiB" not in text and "base decode t/s" in text
    assert "A Processor" in text and "threads 1 and 2" in text and "agreement 80.0 %" in text and "AVX2" in text


def test_one_repetition_has_no_spread():
    assert "±" not in "".join(line for line in markdown(results(n=1)).splitlines() if line.startswith("| a"))


@pytest.mark.parametrize(
    ("value", "expected"), [(0, 2), (1234.5, 0), (123.4, 0), (12.34, 1), (1.234, 2), (0.1234, 3), (0.0000123, 4)]
)
def test_numbers_have_three_digits(value, expected):
    assert decimals(value) == expected


def test_csv_and_json_say_the_same():
    rows = list(csv.DictReader(io.StringIO(comma_separated(results()))))
    objects = json.loads(json.dumps(results().as_dict()))["rows"]
    assert [float(row["answer_s"]) for row in rows] == [one["median"]["answer_s"] for one in objects] == [6, 1, 2, 4]
    assert [row["name"] for row in rows] == ["base", "drafter", "wsd k=auto", "llama-bench"]
    assert rows[0]["accepted"] == "" and objects[0]["median"]["accepted"] is None
    assert [len(one["repetitions"]) for one in objects] == [2] * 4
    assert [one["peer"] for one in objects] == [False, False, False, True]
