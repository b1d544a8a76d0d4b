"""Texts on which tokenizers go wrong: `tokenizer_test_texts(["<|im_start|>", "<|im_end|>"])`.

The same texts come in every run. None holds a lone surrogate, for which UTF-8 has no bytes.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import product

_SEED = 20250617
_N_OF_WORDS, _N_OF_CHARACTERS, _N_OF_PLANES = 320, 160, 60
# Of thousands of reserved tokens each is tried alone; only this many also stand inside texts.
_MOST_INSIDE = 48

_SPACES = (
    " ", "\t", "\n", "\r", "\r\n", "\v", "\f", "\u00a0", "\u1680", "\u2003", "\u2009", "\u200a", "\u2028", "\u2029",
    "\u202f", "\u3000", "\u0085", "\u200b", "\ufeff",
)  # fmt: skip
_AROUND = (("", ""), ("a", ""), ("", "a"), ("word", "word"), ("7", "7"), (".", "!"))
_LETTERS = (
    "Hello", "the quick brown fox", "Ångström", "naïve café", "ǅ ß ﬁ ŉ", "İstanbul ıI", "Ελληνικά", "Кириллица",
    "հայերեն", "ქართული", "עברית", "العربية", "हिन्दी", "தமிழ்", "ไทย", "မြန်မာ", "አማርኛ", "ᏣᎳᎩ", "ꙮ", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢",
    "ⅷ Ⅷ ½ ² ₃ ①", "CamelCaseWord", "snake_case_word", "SHOUTING", "iPhone", "McDonald", "ABCdef", "abcDEF", "xX",
    "Zürich-Süd",
)  # fmt: skip
_NUMBERS = (
    "0", "7", "12", "123", "1234", "12345", "123456", "1234567890", "3.14159", "-1.5e-10", "1,000,000", "1 000 000",
    "0x1F", "0b1010", "2024-02-29", "23:59:60", "+49 (0)30 123456", "v1.2.3-rc4", "50%", "$9.99", "€1.234,56",
    "1st 2nd", "٣٤٥", "१२३", "๔๕๖", "１２３４", "𝟘𝟙𝟚", "²³¹", "½⅓¼", "ⅣⅫ", "a1b22c333", "1a 12ab", "007", "1/2",
    "IPv4 192.168.0.1",
)  # fmt: skip
_CONTRACTIONS = (
    "it's I'm you'll they'd we've don't can't she'S HE'LL I'M WE'VE 'Re", "it’s I’m you’ll", "'s", "'S", "''s",
    "a'sb", "x'l", "'lls", "rock'n'roll", "O'Brien's", "'tis 'twas", "l'été d'où", "'s't're've'm'll'd", "ain'T  'D'S",
)  # fmt: skip
_EMOJI = (
    "😀", "😀😀😀", "👩‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪🇯🇵🇧🇷", "❤️ ❤", "👍🏽👍🏿", "1️⃣#️⃣", "🧑🏻‍💻", "text😀text", " 😀 ",
    "☃☂★", "🫠🫥🪿", "😀\n😀", "⌚︎⌚️",
)  # fmt: skip
_ASIAN = (
    "漢字とかな、カタカナ。", "中文字符，标点！“引号”《书》", "繁體中文測試", "한국어 문장입니다.", "ㄱㄴㄷ ㅏㅑ",
    "日本語123と英語abcの混在", "你好 world 世界", "ｆｕｌｌ　ｗｉｄｔｈ", "々〆ヶ", "ーー〜～", "「」『』【】",
    "𠮷野家", "龥龦", "각 각각", "Việt Nam", "ພາສາລາວ", "ភាសាខ្មែរ", "བོད་ཡིག",
)  # fmt: skip
_RIGHT_TO_LEFT = (
    "שלום עולם", "مرحبا بالعالم", "\u200fRTL\u200e marks", "שָׁלוֹם", "اَلْعَرَبِيَّةُ", "abc עברית 123 def",
    "\u202bembedded\u202c", "\u2067isolated\u2069", "سلام، دنیا؟", "(עברית)", "לא-כן", "٪٫٬",
)  # fmt: skip
_CODE = (
    "def f(x):\n    if x > 0:\n\t\treturn x**2  # squared\n    return {'a': [1, 2, {}]}\n",
    "for (int i=0;i<n;++i){ a[i]+=b[i]&0xff; }//x", "#include <stdio.h>\r\nint main(void){return 0;}\r\n",
    "SELECT * FROM t WHERE a='b' AND c<>'d';", "<div class=\"a\">&nbsp;</div><!-- c -->",
    "{\"key\": [1.5, null, true]}", "git commit -m 'x' && echo $HOME | sed 's/a/b/g' > /dev/null 2>&1",
    "\\frac{a}{b} \\alpha_{i}^{2} $$x$$", "https://example.org/a?b=c&d=%20#frag",
    "user@host ~/path/to/file.tar.gz C:\\dir\\file.txt", "a->b::c<d>(e)[f]{g}", "// ---- ==== ____ ~~~~ **** ####",
    "!!!??? ...... ((((())))) \\\\\\ ```python\n```", "x=1;y=2;;z\t=\t3", "|a|b|\n|-|-|\n",
    "-----BEGIN KEY-----\nMIIEvQIBADANBg+/==\n", "\x1b[31mred\x1b[0m", "@decorator\n@other", "a\n\n\n\nb\n \n \n",
    "<<EOF\n$x\nEOF",
)  # fmt: skip
# What decoders leave of invalid bytes, and characters that stand where they make no sense.
_INVALID = (
    "\ufffd", "a\ufffdb", "\ufffd\ufffd\ufffd", "\u0301", "\u0301alone", " \u0301", "e\u0301 n\u0303 o\u0308\u0323",
    "\u200d", "\u200d😀", "\ufe0f", "🇩", "\u0000", "a\u0000b", "\u0001\u0002\u0007\u0008", "\u007f", "\u0080\u009f",
    "\ufffe", "\uffff", "\U0010ffff", "\ue000\uf8ff", "\U000e0041", "\u0378\u0379", "\u1100\u1161", "A\u030a",
    "\ufb01", "\u212b", "\u2126", "\u0344", "\u2581", "a \u2581b", "a\u2581b", "Ġ Ċ ĉ", "<0x0A>",
    "<0xFF><0x00>", "[PAD0]", "\u00ad", "\u034f", "\u2060",
    "z\u0335\u0321\u0327a\u0337\u0322l\u0337\u031bg\u0337o\u0336", "ﷺ﷽",
)  # fmt: skip
_PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~¡¿«»–—…“”‘’„‚†‡•′″‹›⁄€£¥₿°±×÷√∞≠≤≥→⇒∀∃∈∅§¶©®™^´`¨~"


def tokenizer_test_texts(vocab_special: Sequence[str] = ()) -> list[str]:
    """At least 1,000 different texts, seeded; `vocab_special` are the special tokens of a vocabulary.

    Runs of every kind of white space, numbers, contractions, emoji, Asian and right-to-left scripts, code, what is
    left of invalid bytes, mixtures of all, and every special token alone; a sample of them inside text as well.
    """
    texts = [*_fixed(), *_white_space(), *_punctuation(), *_mixtures(), *_special(vocab_special)]
    return list(dict.fromkeys(texts))


def _fixed() -> list[str]:
    whole = (_LETTERS, _NUMBERS, _CONTRACTIONS, _EMOJI, _ASIAN, _RIGHT_TO_LEFT, _CODE, _INVALID)
    texts = ["", *(text for group in whole for text in group)]
    texts += [" " + text for text in texts if "\u2581" not in text] + [text + "\n" for text in (*_NUMBERS, *_ASIAN)]
    runs = ["a" * 300, " " * 300, "\n" * 100, "ab" * 150, "1" * 100, "é" * 50, "漢" * 80, "!" * 90, "a " * 90]
    return texts + runs


def _white_space() -> Iterator[str]:
    """Runs of one kind, long and short, within each surrounding; and mixed runs."""
    for space, (left, right) in product(_SPACES, _AROUND):
        for length in (1, 2, 3):
            yield left + space * length + right
    for length in (4, 5, 7, 8, 15, 16, 17, 31, 32, 33, 64):
        for space in (" ", "\t", "\n"):
            yield "x" + space * length + "y"
    for pair in product(_SPACES[:8], repeat=2):
        yield "a" + "".join(pair) + "b"


def _punctuation() -> Iterator[str]:
    for mark in _PUNCTUATION:
        yield from (mark, f"a{mark}b", f"word {mark} word", f"{mark}{mark}{mark}", f" {mark}word{mark}\n")


def _mixtures() -> Iterator[str]:
    """Words of all groups in one line, characters of all groups side by side, characters of all planes."""
    draw = random.Random(_SEED)
    groups = (_LETTERS, _NUMBERS, _CONTRACTIONS, _EMOJI, _ASIAN, _RIGHT_TO_LEFT, _CODE)
    words = [word for group in groups for text in group for word in text.split()]
    letters = "".join(words) + _PUNCTUATION + "".join(_SPACES) * 3
    for _ in range(_N_OF_WORDS):
        yield "".join(draw.choice(words) + draw.choice((" ", " ", " ", "  ", "\n", "", "\t")) for _ in range(12))
    for _ in range(_N_OF_CHARACTERS):
        yield "".join(draw.choices(letters, k=40))
    for _ in range(_N_OF_PLANES):
        yield "".join(chr(_code_point(draw)) for _ in range(16))


def _code_point(draw: random.Random) -> int:
    """Any code point that UTF-8 can write, the small ones more often."""
    code = draw.randrange(draw.choice((0x250, 0x2000, 0x3400, 0x10000, 0x20000, 0x110000)))
    return 0xFFFD if 0xD800 <= code <= 0xDFFF else code


def _special(tokens: Sequence[str]) -> Iterator[str]:
    """Every token alone; a sample, spread over all, in front of, within and behind text; and two in a row."""
    yield from tokens
    step = max(1, -(-len(tokens) // _MOST_INSIDE))
    inside = list(tokens[::step])
    for token in inside:
        yield from (f"text{token}text", f"a {token} b", f"{token}\n\nHello", f"  {token}", f"x{token}{token}7")
        yield from (f"{token[:-1]}", f"{token[:1]} {token[1:]}", f"{token}user\nHi!{inside[-1]}\n{inside[0]}")
