"""Text that is pasted rather than typed: changes, logs, listings, programs, prose."""

from __future__ import annotations

import random

from demo_pair.names import NOUNS, file_name, make, stem, word

_INSTRUCTIONS = (
    "Describe this change.", "describe this change", "What does this do?", "Explain this.", "explain:",
    "What is this?", "Summarize this.", "summarize the following", "Summarize:", "What is wrong here?",
    "Why does this fail?", "Fix this:", "Review this change.", "Write a commit message.",
    "Write a commit message for this diff.", "What does this mean?", "I get this:", "Look at this", "please check",
    "Translate this.", "Is this good?", "Improve this:", "Explain this error:", "help me with this",
    "What changed here?", "Any ideas?", "Find the bug.", "tl;dr",
)  # fmt: skip
_CODE = (
    "def {a}({b}):", "    return {b} + {n}", "    {a} = {b}.{c}({n})", "if {a} == {n}:", "for {a} in {b}:",
    "import {a}", "from {a} import {b}", "class {A}:", "    self.{a} = {b}", "    raise ValueError(\"{a} {b}\")",
    "    print({a}, {b})", "{a} = [{n}, {n}]", "const {a} = {b}({n});", "  {a}.{b}();", "int {a}({b} {c}) {{",
    "  return {n};", "}}", "else:", "    {a}[\"{b}\"] = {n}", "# {a} {b} {c}", "// {a} {b}", "export {a}={b}",
    "echo \"{a}\"", "{a}: {b}", "  - {a}", "<p>{a} {b}</p>", "SELECT {a} FROM {b};", "    assert {a} is not {b}",
    "    try:", "let mut {a} = {b};", "", "The {a} is {b}.", "- {a} {b} {c}", "## {a} {b}", "{a}, {b}, {n}",
)  # fmt: skip
_LOG = (
    "{d} ERROR {a}: {b} {c} failed", "{d} INFO {a} started in {n} ms", "[{d}] {a}: {b} (code {n})",
    "WARN {a}.{b}: {c}", "{d} {a}[{n}]: {b} {c}", "Traceback (most recent call last):",
    "  File \"{f}\", line {n}, in {a}", "ValueError: {a} {b}", "{f}:{n}: error: {a} {b}",
    "{f}:{n}: warning: unused {a}", "make: *** [{a}] Error {n}", "npm ERR! {a} {b}", "error: {a} not found",
    "fatal: {a} {b}", "    at {a}.{b} ({f}:{n})", "E: {a} {b}", "{a}: command not found",
    "-rw-r--r-- 1 {a} {a} {n} {f}", "drwxr-xr-x 2 {a} {b} 4096 {c}", "{n} {n} {n} {a}", "GET /{a}/{b} {n}", "{a}={b}",
    "Segmentation fault (core dumped)", "Permission denied: {f}", "No such file or directory: {f}", "{n}% {a} {b}",
)  # fmt: skip
_PROSE = (
    "the", "a", "of", "and", "to", "in", "is", "was", "with", "for", "on", "as", "he", "she", "it", "they", "we", "had",
    "new", "old", "time", "people", "year", "day", "after", "before", "many", "first", "between", "while", "because",
)  # fmt: skip
_SENTENCES = (
    "The {a} had waited for the {b} since {c}.", "Nobody in the {a} knew why the {b} was gone.",
    "When the {a} came at last, there was no {b} left, and the {c} was empty.", "She put the {a} on the {b} and left.",
    "He asked for a {a}, for a {b} and for a {c}, in that order.", "In the {a} it was quiet, as it always is in {b}.",
    "Our {a} offers a {b} to every {c}.", "It took the {a} three years to find the {b}.", "Then the {a} began to sing.",
    "They had never seen a {a} that could carry a {b}.", "I wrote to the {a} about the {b}, but got no answer.",
    "The first {a} of the {b} was sold for more than a {c}.", "Every {a} needs a {b}; no {b} needs a {a}.",
    "After the {a} we walked through the {b} to the {c} and talked about the {d}.",
    "The {a} is small but the {b} is not.",
    "Dear reader, this is the story of a {a}, a {b} and a very old {c}.", "At night the {a} dreams of a {b}.",
    "Scientists say that the {a} may change the {b} within a {c}.", "The meeting about the {a} was moved to {b}.",
    "We regret that the {a} will be closed because of a {b}.", "He had not spoken to a {a} for weeks.",
    "There was once a {a} who lived in a {b} by the {c} and had no {d}.", "The price of the {a} rose again this {b}.",
    "My {a} has a {b} that my {c} would like.", "What the {a} lost, the {b} found.",
    "\"A {a}?\" said the {b}. \"Never!\"",
)  # fmt: skip


def pasted(rng: random.Random) -> str:
    """A few lines, seldom many; sometimes with a word about what to do with them."""
    n = rng.choices((rng.randint(1, 4), rng.randint(4, 12), rng.randint(12, 30), rng.randint(30, 90)), (5, 5, 2, 0.25))[
        0
    ]
    text = rng.choice((_diff, _diff, _lines_of_code, _log, _trace, _prose, _data))(n, rng)
    draw = rng.random()
    if draw < 0.25:
        return f"{rng.choice(_INSTRUCTIONS)}{rng.choice((' ', chr(10), chr(10) * 2))}{text}"
    if draw < 0.35:
        return f"{text}\n{rng.choice(_INSTRUCTIONS)}"
    return text


def _fill(shape: str, rng: random.Random) -> str:
    return shape.format(
        a=_word(rng), b=_word(rng), c=_word(rng), A=_word(rng).capitalize(), n=rng.randrange(10 ** rng.randint(1, 4)),
        f=file_name(rng),
        d=f"2024-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d} "
        f"{rng.randint(0, 23):02d}:{rng.randint(0, 59):02d}",
    )  # fmt: skip


def _word(rng: random.Random) -> str:
    return rng.choice((stem, word, lambda r: make("term", r)))(rng).replace(".", "_")


def _diff(n: int, rng: random.Random) -> str:
    name = rng.choice(("", f"{_word(rng)}/", f"src/{_word(rng)}/")) + file_name(rng)
    lines = []
    if rng.random() < 0.85:
        lines.append(f"diff --git a/{name} b/{name}")
    if rng.random() < 0.7:
        lines.append(f"index {rng.getrandbits(28):07x}..{rng.getrandbits(28):07x} 100644")
    if rng.random() < 0.9:
        lines += [f"--- a/{name}", f"+++ b/{name}"]
    lines.append(f"@@ -{rng.randint(1, 300)},{rng.randint(1, 20)} +{rng.randint(1, 300)},{rng.randint(1, 20)} @@")
    lines += [rng.choice("  +-") + _fill(rng.choice(_CODE), rng) for _ in range(n)]
    return "\n".join(lines)


def _lines_of_code(n: int, rng: random.Random) -> str:
    return "\n".join(_fill(rng.choice(_CODE), rng) for _ in range(n))


def _log(n: int, rng: random.Random) -> str:
    return "\n".join(_fill(rng.choice(_LOG), rng) for _ in range(n))


def _trace(n: int, rng: random.Random) -> str:
    """How programs tell where they failed, in Python or Java."""
    calls = [_fill("{a}|{n}|{f}|{b}", rng).split("|") for _ in range(min(n, 12))]
    kind = rng.choice(("Value", "Type", "Key", "Index", "Attribute", "ZeroDivision", "Import", "Runtime", "OS"))
    reason = " ".join(rng.choice(_PROSE) if rng.random() < 0.5 else _word(rng) for _ in range(rng.randint(1, 6)))
    if rng.random() < 0.3:
        lines = [f"\tat {name}.{inner}({file}:{line})" for name, line, file, inner in calls]
        return "\n".join([f'Exception in thread "main" java.lang.{kind}Exception: {reason}', *lines])
    lines = ["Traceback (most recent call last):"]
    for name, line, file, inner in calls:
        lines.append(f'  File "{file.rpartition(".")[0]}.py", line {line}, in {rng.choice((name, "<module>"))}')
        lines.append(f"    {rng.choice((inner + '()', 'return ' + inner, inner + ' = ' + name + '(' + line + ')'))}")
    return "\n".join([*lines, f"{kind}Error: {reason}"])


def _prose(n: int, rng: random.Random) -> str:
    if rng.random() < 0.6:
        shapes = rng.choices(_SENTENCES, k=rng.randint(1, max(2, n // 2)))
        return " ".join(shape.format(**{slot: rng.choice(NOUNS) for slot in "abcd"}) for shape in shapes)
    words = [rng.choice(_PROSE) if rng.random() < 0.55 else _word(rng) for _ in range(8 * n)]
    for i in range(rng.randint(4, 12), len(words), rng.randint(7, 14)):
        words[i - 1] += "."
        words[i] = words[i].capitalize()
    return " ".join(words).capitalize() + "."


def _data(n: int, rng: random.Random) -> str:
    if rng.random() < 0.5:
        return "{\n" + ",\n".join(_fill('  "{a}": "{b}"', rng) for _ in range(n)) + "\n}"
    joint = rng.choice((",", "\t", ";", " | "))
    return "\n".join(joint.join((_word(rng), _word(rng), str(rng.randrange(999)))) for _ in range(n))
