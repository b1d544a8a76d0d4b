"""Grammars are checked before llama.cpp sees them: what would end the process, or print, is one clear error."""

from __future__ import annotations

import pytest

from edge_wsd.decoding.options import Options
from edge_wsd.errors import OptionError
from edge_wsd.gbnf import check_grammar

WRONG = {
    "": "a rule named 'root'",
    'x ::= "a"': "a rule named 'root'",
    "root ::= a": "line 1: there is no rule 'a'",
    '\n# note\nroot ::= b\nb ::= "x': "line 4: a text in double quotes",
    "root ::= [a": "line 1: characters in square brackets",
    'root ::= "\\q"': "line 1: a text in double quotes",
    'root = "a"': "'::=' is expected after 'root'",
    'root ::= ("a"': "')' is expected",
    'root ::= "a" )': "has no place here",
    "root ::= *": "a repetition must follow what it repeats",
    'root ::= "" *': "a repetition must follow what it repeats",
    'root ::= "a"\0': "without NUL",
    'root ::= "\ud800"': "half characters",
    # llama.cpp counts down from 3 - 5 and makes 2^64 rules of it.
    'root ::= "a"{5,3}': "in order",
    'root ::= "a"{2001}': "at most 2000",
    'root ::= ("a"{0,100}){100}': "make 10100 rules",
    'root ::= root "x" | "y"': "'root' can begin with itself",
    # This one llama.cpp does not find, and its memory grows for ever.
    'root ::= a root "x" | "y"\na ::= b\nb ::= ""': "'root' can begin with itself",
    'root ::= a\na ::= b "x"\nb ::= a': "can begin with itself",
}
HOSTILE = {
    "megabytes": 'root ::= "' + "a" * 2_000_000 + '"',
    "brackets": "root ::= " + "(" * 100_000 + '"a"' + ")" * 100_000,
    "a long repetition": 'root ::= "' + "a" * 50_000 + '"{1999}',
    "many repetitions": "root ::= " + '"aaaaaaaaaa"{1999} ' * 20,
    "two to the sixtieth ways": "\n".join(f"a{i} ::= a{i + 1} | a{i + 1}" for i in range(60))
    + '\na60 ::= "x"\nroot ::= a0',
    "a long way down": "\n".join(f"a{i} ::= a{i + 1}" for i in range(9000)) + '\na9000 ::= "x"\nroot ::= a0',
    "empty all the way": "\n".join(f"a{i} ::= a{i + 1}" for i in range(9000)) + '\na9000 ::= ""\nroot ::= a0',
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_grammar_is_told_with_its_line(text: str) -> None:
    with pytest.raises(OptionError, match=r"^grammar must be") as caught:
        Options(grammar=text)
    assert WRONG[text] in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_grammar_is_refused_before_it_does_harm(name: str) -> None:
    with pytest.raises(OptionError, match=r"^grammar must be"):
        check_grammar(HOSTILE[name])


@pytest.mark.parametrize(
    "text",
    [
        "root ::= ",
        'root ::= ("a"?)*',
        'root ::= "yes" | "no" # one of them\n',
        'root ::= [^"\\\\\\x7F\\x00-\\x1F]+ ("," .){2,}\r\nother ::= "x"{0,3}',
        'root ::= item+\n\nitem ::= (\n  "- " [^\\n]+ |\n  "* "\n) "\\n"',
        'root ::= "(" root ")" | "x"',
    ],
)
def test_what_llama_cpp_takes_is_taken(text: str) -> None:
    assert check_grammar(text) == ()


def test_tokens_that_a_grammar_names_are_told() -> None:
    assert check_grammar("root ::= <|im_end|> !<[5]> <|im_end|>") == ("<|im_end|>", "<[5]>")
