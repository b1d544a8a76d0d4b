"""The user's file of named pairs: TOML that a person may edit. What is written keeps comments and order.

    default = "mine"

    [pairs.mine]
    drafter = "/models/drafter.gguf"
    base = "meta-llama/Llama-3.1-8B:Q4_K_M"
    threshold = 0.7

>>> PairsFile().read().default
'mine'
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_wsd.errors import OptionError, PairsFileError, StoreError
from edge_wsd.files import behind_links, write_atomically
from edge_wsd.models.pairs.built_in import BUILT_IN_PAIRS
from edge_wsd.models.pairs.named_pair import (
    KEYS,
    MODEL_KEYS,
    NAME_RULE,
    OPTION_KEYS,
    TEMPLATE_KEYS,
    TEMPLATES,
    NamedPair,
    did_you_mean,
    is_pair_name,
)
from edge_wsd.models.store.model_name import parse_model_name
from edge_wsd.reading import read_bounded
from edge_wsd.user_folders import config_folder

if TYPE_CHECKING:  # read only where there is a file
    from tomlkit import TOMLDocument

PATH_VARIABLE = "EDGE_WSD_PAIRS"
KeyPath = tuple[str, ...]
"""Keys of TOML from the top of the file down."""
_TOP_KEYS = ("default", "pairs")
_MOST_BYTES = 1 << 20
_LOCK_TIMEOUT_S = 10.0
_LOCK = ".edge-wsd-pairs.lock"
_BEGINNING = """\
# Named pairs of edge-wsd. May be edited: comments and order stay when `edge-wsd pairs` writes.
# Each [pairs.NAME] has a drafter and a base, each a file or REPO:TYPE, and may have
# drafter_template, base_template, threshold, window and max_draft.
"""


@dataclass(frozen=True)
class Pairs:
    """What the file says."""

    default: str | None = None
    """The name of the default pair."""
    pairs: dict[str, NamedPair] = field(default_factory=dict)
    problems: dict[KeyPath, PairsFileError] = field(default_factory=dict)
    """What is wrong, by its place: ("pairs", NAME) is the entry of a pair, which `pairs` then lacks."""

    def require(self, *place: str) -> None:
        """Raises the error of this place, if there is one."""
        if place in self.problems:
            raise self.problems[place]


class NoHomeError(PairsFileError):
    """This user has no home folder, as services and containers may have none, and so no file of pairs."""


def pairs_path() -> Path:
    """Where the file is: `EDGE_WSD_PAIRS`, else `pairs.toml` in the user's folder for settings.

    Raises `NoHomeError`.
    """
    try:
        if named := os.environ.get(PATH_VARIABLE):
            return Path(named).expanduser().absolute()
        return config_folder() / "pairs.toml"
    except RuntimeError as error:
        raise NoHomeError(f"there is no folder for your pairs: {error}; set HOME, or {PATH_VARIABLE}") from None


class PairsFile:
    """The file at `path`, by default `pairs_path()`. One that is not there is a file without pairs.

    Every method raises `PairsFileError`, which names the file, the line and what was expected. What is wrong with one
    entry is kept by `read` and blocks no other.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path

    @property
    def path(self) -> Path:
        """Raises `NoHomeError`, as every method does but `read`: who has no home has no pairs."""
        return pairs_path() if self._path is None else self._path

    def read(self) -> Pairs:
        """What the file says, checked. Raises for a file that cannot be read, or is no TOML."""
        try:
            text = self._text()
        except NoHomeError:
            if os.environ.get(PATH_VARIABLE):
                raise
            return Pairs()
        return _Reading(self.path, text).pairs() if text else Pairs()

    def require_writable(self) -> None:
        """Raises now what a change would raise later: for before work that takes long."""
        with self._locked():
            self._text()

    def add(self, pair: NamedPair, *, replace: bool = False) -> None:
        """Adds a pair; with `replace` it takes the place of one of the same name, whose comments stay.

        Relative paths count from the current folder here, and are written as absolute ones.
        """
        import tomlkit

        pair = pair.anywhere()

        place = ("pairs", pair.name)

        def change(document: TOMLDocument, pairs: Pairs) -> Pairs:
            if (pair.name in pairs.pairs or place in pairs.problems) and not replace:
                raise PairsFileError(f"{self.path}: there is already a pair {pair.name!r}; --force replaces it")
            pairs.require("pairs")
            if "pairs" not in document:
                document["pairs"] = tomlkit.table(is_super_table=True)
            tables: Any = document["pairs"]
            if not isinstance(tables.get(pair.name), dict):
                tables[pair.name] = tomlkit.table()
            _write(tables[pair.name], pair.as_dict())
            return Pairs(pairs.default, {**pairs.pairs, pair.name: pair}, _without(pairs.problems, place))

        self._change(change)

    def remove(self, name: str) -> bool:
        """Removes a pair. Returns whether it was the default one, which there is none of afterwards."""
        was_default = False
        place = ("pairs", name)

        def change(document: TOMLDocument, pairs: Pairs) -> Pairs:
            nonlocal was_default
            if name not in pairs.pairs and place not in pairs.problems:
                raise PairsFileError(f"{self.path}: there is no pair {name!r}; {_listed(pairs.pairs)}")
            _remove_table(document["pairs"], name)
            was_default = pairs.default == name
            if was_default:
                document.remove("default")
            rest = {other: pair for other, pair in pairs.pairs.items() if other != name}
            return Pairs(None if was_default else pairs.default, rest, _without(pairs.problems, place))

        self._change(change)
        return was_default

    def set_default(self, name: str | None) -> None:
        """Names the default pair, or none."""

        def change(document: TOMLDocument, pairs: Pairs) -> Pairs:
            if name is not None:
                document["default"] = name
            elif "default" in document:
                document.remove("default")
            return Pairs(name, pairs.pairs, _without(pairs.problems, ("default",)))

        self._change(change)

    def _text(self) -> str:
        """The file's text; "" if there is no file."""
        try:
            data = read_bounded(self.path, _MOST_BYTES)
        except (FileNotFoundError, NotADirectoryError):  # the home of many services is /dev/null
            return ""
        except OSError as error:
            raise PairsFileError(f"{self.path}: cannot be read: {error.strerror or error}") from error
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise PairsFileError(f"{self.path}, line {line}: is not valid UTF-8; save the file as UTF-8") from error

    def _change(self, change: Callable[[TOMLDocument, Pairs], Pairs]) -> None:
        """Applies `change` to the document, one writer at a time. `change` says what the file must mean afterwards."""
        with self._locked():
            text = self._text() or _BEGINNING
            reading = _Reading(self.path, text if text.endswith("\n") else f"{text}\n")
            wanted = change(reading.document, reading.pairs())
            new = reading.document.as_string()
            if "\r\n" in text:
                new = new.replace("\r\n", "\n").replace("\n", "\r\n")
            self._check(new, wanted)
            write_atomically(self.path, new.encode())

    def _check(self, new: str, wanted: Pairs) -> None:
        """Makes sure that the text says what it should: a form of TOML that cannot be added to is not damaged."""
        try:
            says = _Reading(self.path, new).pairs()
        except PairsFileError:
            says = Pairs()
        for place in says.problems.keys() - wanted.problems.keys():
            if place == ("default",):
                raise says.problems[place]
        if (says.default, says.pairs, says.problems.keys()) != (wanted.default, wanted.pairs, wanted.problems.keys()):
            raise PairsFileError(
                f"{self.path}: cannot be changed by a program as it is written; edit it, best with a [pairs.NAME] "
                "above the keys of each pair"
            )

    @contextmanager
    def _locked(self) -> Iterator[None]:
        from filelock import FileLock, Timeout

        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            place = behind_links(self.path)  # those who come by different links wait for each other
            with FileLock(place.with_name(_LOCK), timeout=_LOCK_TIMEOUT_S):
                if place.exists() and not os.access(place, os.W_OK):  # another file could still take its place
                    raise PermissionError(errno.EACCES, "it is read-only; chmod u+w allows it")
                yield
        except Timeout as error:
            raise PairsFileError(f"{self.path}: is being written by another program; try again") from error
        except (OSError, NotImplementedError) as error:  # NotImplementedError: the file system has no locks
            raise PairsFileError(
                f"{self.path}: cannot be written: {getattr(error, 'strerror', None) or error}"
            ) from error


class _Reading:
    """The document, and what it says: each defect is named with its line."""

    def __init__(self, path: Path, text: str) -> None:
        from edge_wsd.models.pairs.toml_lines import TomlSyntaxError, parse

        self._path = path
        try:
            self.document = parse(text)
        except TomlSyntaxError as error:
            raise PairsFileError(
                f"{path}, {error.place}: {error.message}; the file must be TOML, with texts in quotes"
            ) from error

    def error(self, keys: Iterable[str], defect: str) -> PairsFileError:
        from edge_wsd.models.pairs.toml_lines import line_of

        return PairsFileError(f"{self._path}, line {line_of(self.document, list(keys))}: {defect}")

    def pairs(self) -> Pairs:
        """What the document says, and what is wrong with it."""
        plain = self.document.unwrap()
        tables, default = plain.get("pairs", {}), plain.get("default")
        found = Pairs(default if isinstance(default, str) else None)
        for key, value in plain.items():
            with self._kept(found, key):
                self._check_key((), key, value, _TOP_KEYS, "")
        with self._kept(found, "pairs"):
            if not isinstance(tables, dict):
                raise self.error(["pairs"], f"pairs must be tables, each under [pairs.NAME], not {_kind(tables)}")
        entries: dict[str, Any] = tables if isinstance(tables, dict) else {}
        for name, table in entries.items():
            with self._kept(found, "pairs", name):
                found.pairs[name] = self._pair(name, table)
        with self._kept(found, "default"):
            self._check_default(default, entries)
        return found

    @contextmanager
    def _kept(self, found: Pairs, *place: str) -> Iterator[None]:
        """Keeps the error of a place instead of raising it."""
        try:
            yield
        except PairsFileError as error:
            found.problems[place] = error

    def _check_default(self, default: Any, pairs: Iterable[str]) -> None:
        if default is None:
            return
        if not isinstance(default, str):
            raise self.error(["default"], f"default must be the name of a pair in quotes, not {_kind(default)}")
        known = [*pairs, *(name for name in BUILT_IN_PAIRS if name not in pairs)]
        if default not in known:
            hint = did_you_mean(default, known)
            raise self.error(
                ["default"], f"default is {default!r}, which is not a pair; {hint}known pairs: {', '.join(known)}"
            )

    def _pair(self, name: str, table: Any) -> NamedPair:
        where = ("pairs", name)
        if not isinstance(table, dict):
            raise self.error(where, f"pair {name!r} must be a table under [pairs.{name}], not {_kind(table)}")
        if not is_pair_name(name):
            raise self.error(where, f"{name!r} is not a name for a pair; a name has {NAME_RULE}")
        for key, value in table.items():
            self._check_key(where, key, value, KEYS, f" of pair {name!r}")
        for key in MODEL_KEYS:
            if key not in table:
                raise self.error(where, f'pair {name!r} has no {key}; add {key} = "FILE" or "REPO:TYPE"')
        checked = {key: self._check_value((*where, key), key, value, name) for key, value in table.items()}
        return NamedPair(name, **checked)

    def _check_key(self, where: KeyPath, key: str, value: Any, known: tuple[str, ...], owner: str) -> None:
        if key in known:
            return
        hint = did_you_mean(key, known)
        if isinstance(value, dict) and where:
            hint = f'a name with a dot stands in quotes, [pairs."{where[-1]}.{key}"]; '
        elif not where and key in KEYS:
            hint = "it belongs under [pairs.NAME]; "
        raise self.error((*where, key), f"unknown key {key!r}{owner}; {hint}known keys: {', '.join(known)}")

    def _check_value(self, where: tuple[str, ...], key: str, value: Any, name: str) -> Any:
        """The value as the pair gets it: a relative path counts from the folder of the file."""
        if key in OPTION_KEYS:
            from edge_wsd.decoding.options import Options

            try:
                Options(**{key: value})
            except OptionError as error:
                raise self.error(where, f"pair {name!r}: {error}") from error
            return value
        if not isinstance(value, str):
            raise self.error(where, f"{key} of pair {name!r} must be a text in quotes, not {_kind(value)}")
        if not value.strip() or "\0" in value:
            expected = "a file or REPO:TYPE" if key in MODEL_KEYS else "chat, plain or a Jinja file"
            raise self.error(where, f"{key} of pair {name!r} must be {expected}, not {value!r}")
        if key in TEMPLATE_KEYS:
            return value if value in TEMPLATES or value.startswith("~") else str(self._path.parent / value)
        try:
            parse_model_name(value)
        except StoreError as error:
            raise self.error(where, f"{key} of pair {name!r}: {error}") from error
        is_relative = value.lower().endswith(".gguf") and not value.startswith("~")
        return str(self._path.parent / value) if is_relative else value


def _kind(value: Any) -> str:
    """What a value is, in words of TOML."""
    for kind, word in ((dict, "a table"), (list, "a list"), (str, f"the text {value!r}")):
        if isinstance(value, kind):
            return word
    return str(value).lower() if isinstance(value, bool) else str(value)


def _without(problems: dict[KeyPath, PairsFileError], place: KeyPath) -> dict[KeyPath, PairsFileError]:
    return {other: error for other, error in problems.items() if other != place}


def _listed(pairs: Iterable[str]) -> str:
    names = ", ".join(pairs)
    return f"its pairs are {names}" if names else "it holds no pairs"


def _write(table: Any, wanted: dict[str, Any]) -> None:
    """Gives a table exactly these keys. A new one goes behind its last, and the comments below stay below."""
    behind = _take_comments_behind(table)
    for key in [key for key in table if key not in wanted]:
        table.remove(key)
    for key, value in wanted.items():
        table[key] = value
    if behind:
        table.value.body.extend(behind)


def _remove_table(tables: Any, name: str) -> None:
    """Removes a table, but not the comments behind its last key: they stand above the next table and belong to it."""
    from tomlkit.items import Null, Whitespace

    kept = "".join(item.as_string() for _, item in _take_comments_behind(tables[name]))
    tables.remove(name)
    if "#" in kept:
        body = tables.value.body
        place = next(i for i, (_, item) in enumerate(body) if isinstance(item, Null))
        body[place] = (None, Whitespace(kept))


def _take_comments_behind(table: Any) -> list[tuple[Any, Any]]:
    """Takes comments and empty lines off the end of a table."""
    from tomlkit.items import Table

    taken: list[tuple[Any, Any]] = []
    body = table.value.body if isinstance(table, Table) else []
    while body and body[-1][0] is None:
        taken.insert(0, body.pop())
    return taken
