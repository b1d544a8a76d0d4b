"""How people really type: typos, capitals, missing marks, words around the question."""

from __future__ import annotations

import random
import re
from collections.abc import Collection

LEADS = (
    "Quick question:", "Sorry to bother you.", "I'm new to this.", "One more thing.", "Please help.", "Another one:",
    "I have a question.", "Beginner here.", "OK, next.", "And now:", "so", "ok so", "well,", "um,", "Question:", "Q:",
    "hey,", "hi", "hello,", "hi there,", "Hi!", "Hello!", "Hello,", "Hey!", "Good morning.", "Good evening!",
    "please", "sorry,", "excuse me,", "maybe a dumb question:", "just wondering,", "Task:", "To do:", "next:",
    "also,", "now", "I am stuck.", "I can't figure this out.", "I have been trying for an hour.",
    "Not sure how this works.", "I'm on {distro}.", "I am using {distro}.", "I use {distro} at home.",
    "Running {distro} here.", "{distro} user here.", "I just installed {distro}.", "I'm on {distro} with {shell}.",
    "On {distro}:", "On my {machine}:", "I have a {machine}.", "I'm logged in on my {machine}.",
    "This is about my {machine}.", "I got a new {machine} last week.", "I only have ssh access to the {machine}.",
    "I usually use windows.", "I come from a mac.", "I'm in my home directory.", "I have root access.",
    "My {relative} asked me this.", "My {relative} gave me this {machine}.", "I'm helping my {relative}.",
    "We have an exam tomorrow.", "I'm writing a script.", "I'm following a tutorial.", "I work as an admin.",
    "I need this for work.", "For my homework:", "It's late and I'm tired.", "In the {shell} shell:",
    "I'm using {shell}.", "I read the manual but did not get it.", "I always forget this.",
    "There is no desktop here.",
)  # fmt: skip
TAILS = (
    "Thanks!", "Thank you.", "Please.", "I'm on {distro}.", "I'm new to Linux.", "It's urgent.", "I use {shell}.",
    "thanks", "Thanks in advance!", "I keep forgetting it.", "I only have a terminal.", "Any help is welcome.",
    "please", "Thanks a lot for your help.", "I'm on a {machine}.", "Only with the shell, please.", "No GUI please.",
    "Any ideas?", "Is that possible?", "What do I type?", "What is the command?", "Which command is it?", "help",
    "Running {distro}.", "I don't want to break anything.", "My {relative} needs it.", "How?", "how",
    "Sorry for the basic question.", "It should be easy.", "on {distro}", "in {shell}", "from the terminal",
    "with one command", "(linux)", "(bash)",
)  # fmt: skip
_FILL = {
    "distro": ("Ubuntu", "Debian", "Fedora", "Arch", "Linux Mint", "Ubuntu 22.04", "Debian 11", "CentOS 7", "openSUSE",
               "a Raspberry Pi", "WSL", "Pop OS", "Kali", "linux", "Ubuntu Server", "Red Hat"),
    "shell": ("bash", "zsh", "fish", "sh", "the bash"),
    "machine": ("laptop", "server", "desktop", "virtual machine", "Raspberry Pi", "office computer", "VPS", "old PC"),
    "relative": ("boss", "colleague", "friend", "teacher", "brother", "sister", "professor", "team lead", "customer"),
}  # fmt: skip
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_ARTICLES = frozenset({"the", "a", "an", "my", "of", "that", "is", "are", "do", "does"})


def surround(text: str, rng: random.Random, share: float = 1.0) -> str:
    """Sometimes with words before it, after it, or both."""
    draw = rng.random() / share
    if draw < 0.3:
        lead = _filled(rng.choice(LEADS), rng)
        lower = text[:1].lower() + text[1:] if lead[-1] in ",:" and rng.random() < 0.5 else text
        text = f"{lead} {lower}"
    if draw < 0.06 or 0.3 < draw < 0.42:
        end = "" if text[-1] in ".?!" or rng.random() < 0.3 else rng.choice((".", ",", "."))
        text = f"{text}{end} {_filled(rng.choice(TAILS), rng)}"
    return text


def roughen(text: str, names: Collection[str], rng: random.Random) -> str:
    """Half of the texts as they are; the others typed in a hurry. `names` stay whole, but may get quotes."""
    if names and rng.random() < 0.12:
        text = _quoted(text, names, rng)
    if rng.random() < 0.45:
        return text
    words = text.split(" ")
    free = [i for i, w in enumerate(words) if w.strip("\"'`.,?!()") and not any(name in w for name in names)]
    draw = rng.random()
    if draw < 0.05:
        return " ".join(w.upper() if i in set(free) else w for i, w in enumerate(words))
    if draw < 0.08:
        return " ".join(w.capitalize() if i in set(free) else w for i, w in enumerate(words))
    if rng.random() < 0.7:
        for i in free:
            words[i] = words[i].lower()
    if rng.random() < 0.45:
        for _ in range(rng.choice((1, 1, 2, 4, 8))):
            if free:
                i = rng.choice(free)
                words[i] = typo(words[i], rng)
    if rng.random() < 0.2:
        words = [
            w for i, w in enumerate(words) if i not in set(free) or w.lower() not in _ARTICLES or rng.random() < 0.4
        ]
    text = " ".join(w for w in words if w) or text
    return _punctuated(text, rng)


def _punctuated(text: str, rng: random.Random) -> str:
    draw = rng.random()
    if draw < 0.55:
        text = text.rstrip(".?!")
    elif draw < 0.62:
        text = text.rstrip(".?!") + rng.choice(("??", "!!", " ?", "...", "?!", " !", "!"))
    elif draw < 0.68:
        text = text.rstrip(".?!") + "?"
    if rng.random() < 0.3:
        text = text.replace("'", "") if "'" not in text.replace("n't", "").replace("'m", "").replace("'s", "") else text
    if rng.random() < 0.04:
        text = rng.choice((" " + text, text + " ", text + "\n", text.replace(" ", "  ", 1)))
    return text or "?"


def typo(word: str, rng: random.Random) -> str:
    """One letter dropped, doubled, swapped, added or changed; short and odd words stay."""
    if len(word) < 4 or not word.isalpha():
        return word
    i = rng.randrange(1, len(word) - 1)
    return rng.choice((
        word[:i] + word[i + 1 :], word[: i + 1] + word[i:], word[: i - 1] + word[i] + word[i - 1] + word[i + 1 :],
        word[:i] + word[i + 1] + word[i] + word[i + 2 :], word[:i] + rng.choice(_LETTERS) + word[i:],
        word[:i] + rng.choice(_LETTERS) + word[i + 1 :], word[:-1],
    ))  # fmt: skip


def _quoted(text: str, names: Collection[str], rng: random.Random) -> str:
    mark = rng.choice(('"', '"', "'", "`"))
    found = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    return re.sub(rf"(?<![\w./-])(?:{found})(?![\w/-]|\.\w)", lambda match: f"{mark}{match.group()}{mark}", text)


def _filled(text: str, rng: random.Random) -> str:
    return re.sub(r"\{(\w+)\}", lambda match: rng.choice(_FILL[match.group(1)]), text)
