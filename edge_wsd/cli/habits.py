"""What people type who know Ollama, llama.cpp, mlx-lm or `llm`, and how the same is done here, in one line each."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

_LEAVE = "to leave, type /quit or press Ctrl-D"
_HELP = "/help lists the commands"
_BLOCK = 'between lines of """, or of !multi and !end, a message may have several lines; Alt-Enter breaks one'
_NOTHING_STAYS = "no model stays loaded between two commands; `edge-wsd models` lists those of the store"
_GOES_ON = "`edge-wsd chat --continue` goes on with the session that was used last"
_WORDS_ONLY = "the models read text alone; /read FILE puts a text file in front of your next message"
_THINKING = "whether a model thinks is up to the drafter's template, and cannot be set here"
_LEFT_ALONE = "a terminal breaks lines between words, a pipe gets them as they are"
_OTHER_SAMPLING = "there is no such sampler; /set temperature, top_k, top_p, min_p and the penalties shape the sampling"


def when_loaded(what: str, flag: str) -> str:
    """How to choose what cannot be changed in a conversation."""
    return f"{what} is chosen when the pair is loaded: leave with /quit, then `edge-wsd chat {flag} ...`"


MESSAGES: Mapping[str, str] = {
    **dict.fromkeys(("exit", "quit", "bye", "q", ":q", ":q!", ":wq", "exit()", "quit()", "logout"), _LEAVE),
    **dict.fromkeys(("help", "h", "?", "/", "//"), _HELP),
    **dict.fromkeys(("clear", "reset", "r"), "/clear forgets what was said"),
    "!end": _BLOCK,
}
"""Whole messages that are meant as commands."""

FOREIGN_SLASH_COMMANDS: Mapping[str, str] = {
    **dict.fromkeys(("goodbye", "end", "leave", "close", "logout"), _LEAVE),
    **dict.fromkeys(("list", "ls", "ps"), "/show shows the pair that is loaded; `edge-wsd pairs` lists all"),
    **dict.fromkeys(("run", "ask", "say", "chat"), "a question is typed as it is, without a command"),
    **dict.fromkeys(("tokens", "usage", "status", "perf"), "/stats shows all figures of the last answer"),
    **dict.fromkeys(("compact", "compress"), "the oldest messages are left out by themselves once the context is full"),
    **dict.fromkeys(("restart", "forget"), "/clear forgets what was said"),
    **dict.fromkeys(("again", "continue"), "/regen writes the last answer again"),
    **dict.fromkeys(("back", "delete", "rewind"), "/undo takes the last question and its answer back"),
    **dict.fromkeys(("history", "messages"), "/show messages shows what was said"),
    **dict.fromkeys(("info", "settings"), "/show shows the pair and the options"),
    **dict.fromkeys(("model", "models", "switch"), "/pair shows the pairs, /pair NAME goes on with another one"),
    **dict.fromkeys(("params", "parameters", "options", "opt"), "/set shows the options, /set NAME VALUE changes one"),
    **dict.fromkeys(("prompt", "sys"), "/system TEXT sets what the models are told first"),
    **dict.fromkeys(("file", "open", "attach", "include"), "/read FILE puts a text file in front of your next message"),
    **dict.fromkeys(("image", "audio", "video"), _WORDS_ONLY),
    **dict.fromkeys(("multi", "multiline"), _BLOCK),
    "editor": "/edit opens $EDITOR, and so does Ctrl-X Ctrl-E with the message that you are typing",
    **dict.fromkeys(
        ("export", "write"), "/save FILE saves the conversation; `edge-wsd sessions export` one of a session"
    ),
    **dict.fromkeys(("import", "resume"), "/load takes up the conversation of a file or of a session"),
    **dict.fromkeys(("sessions", "chats"), "`edge-wsd sessions` lists the sessions; /load NAME takes one up"),
    **dict.fromkeys(("branch", "fork"), "/save FILE keeps the conversation as it is now, and /load FILE returns to it"),
    **dict.fromkeys(("diff", "vs", "both"), "/compare answers with the drafter alone, the base alone and both"),
    **dict.fromkeys(("yank", "clipboard", "paste"), "/copy puts the last answer into the clipboard"),
    **dict.fromkeys(("stop", "abort"), "Ctrl-C stops an answer"),
    "verbose": "/stats on shows a line of figures after each answer, /stats all of the last one",
    **dict.fromkeys(("quiet", "silent"), "/stats off hides the line after each answer"),
    "shortcuts": "/help lists the keys as well",
    **dict.fromkeys(("think", "nothink"), _THINKING),
}
"""Names behind a slash."""

SET_NAMES: Mapping[str, str] = {
    **dict.fromkeys(("history", "nohistory"), "the conversation always counts; /clear forgets it"),
    **dict.fromkeys(("wordwrap", "nowordwrap"), _LEFT_ALONE),
    **dict.fromkeys(("think", "nothink"), _THINKING),
    "noverbose": "/set quiet hides the line after each answer",
    "template": when_loaded("a template", "--drafter-template"),
    **dict.fromkeys(("num_ctx", "ctx", "ctx_size", "n_ctx", "context_length"), when_loaded("the context", "--ctx")),
    **dict.fromkeys(("num_gpu", "n_gpu_layers", "ngl", "gpu_layers"), when_loaded("the number", "--gpu-layers")),
    **dict.fromkeys(("num_thread", "n_threads", "threads"), when_loaded("the number", "--threads")),
    **dict.fromkeys(("model", "drafter", "base"), "/pair NAME goes on with another pair"),
    **dict.fromkeys(
        ("mirostat", "mirostat_eta", "mirostat_tau", "typical_p", "tfs_z"),
        _OTHER_SAMPLING,
    ),
}
"""Names behind `/set`."""

SAME_OPTIONS: Mapping[str, str] = {
    "num_predict": "max_tokens",
    "n_predict": "max_tokens",
    "n": "max_tokens",
    "max_length": "max_tokens",
    "temp": "temperature",
    "penalize_last_n": "repeat_last_n",
    "freq_penalty": "frequency_penalty",
    "draft_max": "propose",
}
"""Other names for options of a reply."""

SHOW_NAMES: Mapping[str, str] = {
    "template": "`edge-wsd models show FILE --template` shows a model's template",
    **dict.fromkeys(("license", "licence", "modelfile", "model"), "`edge-wsd models show FILE` tells all of a model"),
    "stats": "/stats shows the figures of the last answer",
}
"""Names behind `/show`."""

FOREIGN_COMMANDS: Mapping[str, str] = {
    **dict.fromkeys(("list", "ls"), "`edge-wsd models` lists the models of the store, `edge-wsd pairs` the pairs"),
    **dict.fromkeys(("ps", "stop", "load", "unload"), _NOTHING_STAYS),
    **dict.fromkeys(("server", "start"), "`edge-wsd serve` answers over HTTP"),
    **dict.fromkeys(("show", "info", "inspect"), "`edge-wsd models show NAME` tells all of a model"),
    **dict.fromkeys(
        ("rm", "remove", "delete"), "`edge-wsd models rm NAME` deletes a model, `edge-wsd pairs rm NAME` a pair"
    ),
    **dict.fromkeys(("get", "download", "install"), "`edge-wsd pull OWNER/REPO:TYPE` brings a model into the store"),
    **dict.fromkeys(
        ("create", "cp", "copy", "alias", "aliases"),
        "`edge-wsd pairs add NAME --drafter MODEL --base MODEL` names a pair",
    ),
    **dict.fromkeys(("push", "upload", "share"), "models are only fetched, with `edge-wsd pull`"),
    **dict.fromkeys(
        ("signin", "signout", "login", "logout", "keys"),
        "`hf auth login` keeps a token of the hub, and HF_TOKEN names one",
    ),
    **dict.fromkeys(("generate", "complete", "prompt", "ask", "cli"), '`edge-wsd run "..."` writes one answer'),
    **dict.fromkeys(
        ("logs", "history"), "nothing is logged; `edge-wsd sessions` lists what `chat --session NAME` keeps"
    ),
    "stats": '`edge-wsd run "..."` shows its rates, --json all figures',
    "benchmark": "`edge-wsd bench` measures how fast a pair is",
    "version": "`edge-wsd --version` shows the version, `edge-wsd doctor` those of all parts",
    **dict.fromkeys(("update", "upgrade"), "`pip install --upgrade edge-wsd` updates the program"),
    "search": "look for models at https://huggingface.co/models; `edge-wsd pull OWNER/REPO:TYPE` fetches one",
    **dict.fromkeys(("template", "templates"), "`edge-wsd models show NAME --template` shows a model's template"),
    "cache": "`edge-wsd models` lists what is in the store, and `edge-wsd models rm NAME` deletes it",
    "config": "options are given to each command, or kept with a pair: `edge-wsd pairs add --help`",
    "perplexity": "`edge-wsd verify --compare` measures it",
    **dict.fromkeys(("lora", "fuse", "merge"), "`edge-wsd convert SRC DST --lora DIR` merges an adapter"),
    **dict.fromkeys(
        ("import", "add"), "a GGUF file is used where it lies: `edge-wsd pairs add NAME --drafter FILE --base FILE`"
    ),
}
"""Commands of other programs. `help` has an answer of its own."""

_REMOVE, _SHOW_ALL = ("remove", "delete", "del", "uninstall"), ("ls", "all")
_ADD, _TELL = ("create", "new", "set", "edit", "update", "rename", "cp", "copy"), ("info", "inspect", "get", "cat")
_PULL = "`edge-wsd pull OWNER/REPO:TYPE` brings a model into the store"

COMMANDS_OF_GROUPS: Mapping[str, Mapping[str, str]] = {
    "models": {
        **dict.fromkeys(_REMOVE, "`edge-wsd models rm NAME` deletes a model"),
        **dict.fromkeys(_SHOW_ALL, "`edge-wsd models` lists the models of the store"),
        **dict.fromkeys(_TELL, "`edge-wsd models show NAME` tells all of a model"),
        **dict.fromkeys(("pull", "add", "download", "install", "fetch"), _PULL),
        **dict.fromkeys(("default", "use"), "`edge-wsd pairs default NAME` chooses a pair"),
        "path": "`edge-wsd models show NAME` tells where a model lies",
    },
    "pairs": {
        **dict.fromkeys(_REMOVE, "`edge-wsd pairs rm NAME` removes a pair"),
        **dict.fromkeys(_SHOW_ALL, "`edge-wsd pairs` lists all pairs"),
        **dict.fromkeys(_TELL, "`edge-wsd pairs show NAME` tells all of a pair"),
        **dict.fromkeys(_ADD, "`edge-wsd pairs add NAME --drafter MODEL --base MODEL` names a pair"),
        **dict.fromkeys(("use", "select", "choose", "switch"), "`edge-wsd pairs default NAME` chooses a pair"),
        "pull": _PULL,
    },
    "sessions": {
        **dict.fromkeys(_REMOVE, "`edge-wsd sessions rm NAME` deletes a session"),
        **dict.fromkeys(_SHOW_ALL, "`edge-wsd sessions` lists the sessions"),
        **dict.fromkeys(_TELL, "`edge-wsd sessions show NAME` shows what was said"),
        "mv": "`edge-wsd sessions rename OLD NEW` gives a session another name",
        **dict.fromkeys(
            ("add", "new", "create", "open", "resume", "continue", "chat", "load"),
            "`edge-wsd chat --session NAME` begins a session, or goes on with it",
        ),
        "last": _GOES_ON,
        **dict.fromkeys(("save", "write", "backup"), "`edge-wsd sessions export NAME FILE` writes a session to a file"),
    },
}
"""The same below `models` and `pairs`."""

OPTIONS: Mapping[str, str] = {
    **dict.fromkeys(("-p", "--prompt"), 'the question is an argument: edge-wsd run "..."'),
    **dict.fromkeys(
        ("-m", "--model", "-mu", "--model-url", "-hf", "--hf-repo", "-md", "--model-draft"),
        "name a pair with --pair NAME, or two models with --drafter MODEL --base MODEL",
    ),
    **dict.fromkeys(
        ("-n", "--n-predict", "--predict", "--max-new-tokens", "--num-predict"), "the length is --max-tokens N"
    ),
    "--temp": "it is called --temperature X",
    **dict.fromkeys(("-t", "-tb", "--threads-batch"), "it is called --threads N"),
    **dict.fromkeys(("-c", "--ctx-size", "--num-ctx", "--context-length"), "it is called --ctx N"),
    **dict.fromkeys(("-ngl", "--n-gpu-layers", "--num-gpu"), "it is called --gpu-layers N"),
    **dict.fromkeys(("-b", "--batch-size", "-ub"), "it is called --batch N"),
    **dict.fromkeys(("-s", "-sys", "--system-prompt"), "it is called --system TEXT"),
    **dict.fromkeys(("-f", "--file", "--fragment"), 'a text comes from stdin: edge-wsd run "..." < FILE'),
    **dict.fromkeys(("-o", "--option"), "options have names of their own, such as --temperature 0.7"),
    **dict.fromkeys(("-i", "--interactive", "-cnv", "--conversation"), "`edge-wsd chat` holds a conversation"),
    **dict.fromkeys(("--continue", "--resume"), _GOES_ON),
    **dict.fromkeys(("--cid", "--prompt-cache"), "`edge-wsd chat --session NAME` goes on with a conversation"),
    **dict.fromkeys(("-v", "--verbose"), "--json prints all figures, --debug the traceback of an error"),
    **dict.fromkeys(("--no-stream", "--keepalive", "--nowordwrap", "--hidethinking"), "it is not needed here"),
    "--format": "for JSON use --json",
    **dict.fromkeys(("--draft", "--draft-max", "--num-draft-tokens"), "it is called --propose N"),
    **dict.fromkeys(("-kvu", "-ctk", "-ctv", "--cache-type-k", "--cache-type-v"), "it is called --kv-type TYPE"),
    **dict.fromkeys(("-fa", "--flash-attn"), "it is called --flash-attention"),
}
"""Options of other programs."""

_VERSION = ("-v", "-V", "-version")


def best_match(name: str, known: Iterable[str]) -> str | None:
    """The one of `known` that was probably meant: the only one that begins so, else a similar one."""
    known = list(known)
    beginnings = [each for each in known if name and each.startswith(name)]
    if beginnings:
        return beginnings[0] if len(beginnings) == 1 else None
    similar = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
    return similar[0] if similar else None


def quoted(words: Iterable[str]) -> str:
    """A question as one argument of a shell."""
    text = " ".join(words)
    return f'"{text}"' if not set(text) & set('"$`\\!') else shlex.quote(text)


def unknown_command(args: Sequence[str], known: Iterable[str]) -> str:
    """What to type instead of a command that does not exist; `args` begin with it."""
    name, *more = args
    known = list(known)
    if name == "help":
        topic = more[0] if more and more[0] in known else ""
        return f"type `edge-wsd {topic + ' ' if topic else ''}--help`"
    if name in FOREIGN_COMMANDS:
        return f"there is no command {name!r}; {FOREIGN_COMMANDS[name]}"
    words = [word for word in args if not word.startswith("-")]
    if len(words) > 1 or len(name.split()) > 1:
        return f"there is no command {name!r}; for an answer type `edge-wsd run {quoted(words)}`"
    meant = best_match(name, known)
    if meant is not None:
        return f"there is no command {name!r}; did you mean `edge-wsd {meant}`?"
    return f"there is no command {name!r}; `edge-wsd run {quoted(words)}` would answer it as a question"


def unknown_subcommand(group: str, name: str, known: Iterable[str]) -> str:
    """What to type instead of a command that a group of commands does not have."""
    known = list(known)
    advice = COMMANDS_OF_GROUPS.get(group, {}).get(name)
    if advice is None:
        meant = best_match(name, known)
        advice = f"did you mean `edge-wsd {group} {meant}`?" if meant else f"there are {', '.join(known)}"
    return f"there is no command '{group} {name}'; {advice}"


def argument_of_chat(args: Sequence[str]) -> str:
    """What to type instead of an argument of `chat`, which takes none."""
    behind_c = dict(pairwise(args)).get("-c", "")
    if behind_c.isdigit():
        return f"-c goes on with the session that was used last; the length of the context is --ctx {behind_c}"
    return 'a chat takes no question here: type it inside, or `edge-wsd run "..."`'


def unknown_option(name: str, args: Iterable[str], *, outside_command: bool) -> str | None:
    """What to type instead of an option that does not exist; None if there is nothing to say of it."""
    if outside_command and name in _VERSION:
        return f"there is no option {name}; `edge-wsd --version` shows the version"
    typed = name
    if not name.startswith("--"):  # of -ngl only -n is named, and of -ctk only -t, as there may be a -c
        typed = next((each for each in args if each in OPTIONS and each[:2] != "--" and name[1:] in each), name)
    if typed in OPTIONS:
        return f"there is no option {typed}; {OPTIONS[typed]}"
    if outside_command:
        return f"there is no option {name} here; options stand behind a command: edge-wsd chat {name} ..."
    return None


def words_behind_dashes(name: str, args: Sequence[str]) -> str:
    """What to add where an option that does not exist may be a word of a question; "" where it is none."""
    command, typed = "".join(args[:1]), args[1:]
    place = next((number for number, each in enumerate(typed) if each.startswith(name)), None)
    if command not in ("run", "trace") or place is None:
        return ""
    is_word = " " in typed[place] or any(not each.startswith("-") for each in typed[:place])
    return f"; a question with words like {name} stands behind --: edge-wsd {command} -- ..." if is_word else ""
