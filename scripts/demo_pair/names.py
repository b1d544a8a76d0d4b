"""Other names than the table's, so that the models learn to copy a name and not to remember it."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Final

from edge_wsd.demo.tasks import Task

_SLOTS: Final = {
    "notes.txt": "text", "todo.txt": "text", "draft.txt": "text", "names.txt": "text", "list.txt": "text",
    "report.pdf": "document", "latest.pdf": "document", "data.csv": ".csv .tsv .txt .dat", "checksums.txt": "text",
    "server.log": ".log .log .txt .out .err", "server.log.gz": ".log.gz .txt.gz .csv.gz .sql.gz", "script.sh": ".sh",
    "backup.tar.gz": ".tar.gz .tgz", "archive.tar.gz": ".tar.gz .tgz", "photos.zip": ".zip", "ubuntu.iso": ".iso .img",
    "shop.db": ".db .sqlite", "photos": "folder", "project": "folder", "backup": "folder",
    "project/docs/images": "path", "alice": "person", "docker": "word", "example.com": "host",
    "192.168.1.10": "address", "8080": "port", "1234": "number", "firefox": "program", "nginx": "service",
    "htop": "package", "feature": "branch", "v1.0": "version", "shop": "word", "error": "term", "todo": "term",
    "/dev/sdb1": "device", "/mnt": "mount",
}  # fmt: skip
"""What stands for itself in the commands of the table, and what kind of name may stand there instead."""

_LOCAL: Final = {
    "man-page": {"tar": "manual"}, "which-python": {"python3": "program"}, "pip-install": {"requests": "package"},
    "apt-search": {"pdf": "term"}, "replace-text": {"old": "term", "new": "term"}, "append-text": {"hello": "term"},
    "overwrite-text": {"hello": "term"}, "git-commit": {"fix bug": "message"}, "first-lines": {"10": "count"},
    "last-lines": {"20": "count"},
}  # fmt: skip
"""Words that are names in one task only."""

NOUNS = """
    account album apple archive article atlas audio autumn badge ball bank basket batch beach bike bill birthday blog
    board book box brief bridge budget build bundle button cake calendar camera canvas car card cart catalog chapter
    chart chat chess city class client clock cloud code coffee color column comment company concert config contact
    contract cookie copy course cover cycle daily dance data dataset delta demo design desk diagram diary dinner
    doctor dog dragon drawing dump earth editor email engine essay event example exam expense export family farm
    festival film final flight flower forest form forum frame friend fruit galaxy game garden gate geo gift girl
    glass goal graph green group guest guide guitar harbor hello heat hero history holiday home horse hotel house
    idea image import index info input invoice island item jacket january jazz job journal july june kernel key
    kitchen lab lake lamp land laptop layout leaf lecture ledger legal lesson letter level library license light lion
    list logo london lunch mail main manual map march market master math matrix media meeting memo menu message
    metric mirror model module money monitor moon morning movie music network news night novel number ocean offer
    office old orange order output page paint panel paper paris parser party patch patient payment people phone piano
    picture pilot pizza plan planet plot poem point policy portal post poster power price print prize profile
    program progress proposal quarter query quiz quote radio rain random readme recipe record release rent review
    river road robot rocket room rose route salary sale sample scan scene school science score sea season secret
    seminar sensor session setup shadow sheet ship shoes signal site sketch slide snow song source space speech
    spring stage star station stats stone storm story studio summary summer sun survey table talk target tax team
    temp test thesis ticket tiger time tool tower town track traffic trail train travel tree trip tutorial uncle
    update user vacation valley vector video village vision voice wallpaper water wave weather web wedding week
    weekly winter wiki window wine wood word work world xmas year yellow zebra zone
""".split()  # noqa: SIM905
_PEOPLE = """
    bob carol dave eve frank grace heidi ivan judy mallory olivia peggy victor walter anna peter maria john sara tom
    lisa max paul julia emma lukas nina oscar petra quinn rosa simon tina ulrich vera wendy xaver yuki zoe deploy guest
    admin jenkins backupuser webmaster student teacher intern jsmith mmueller dev1 ops test2 ada linus
""".split()  # noqa: SIM905
_PROGRAMS = """
    chrome chromium vlc gimp code slack zoom spotify thunderbird emacs vim nano java node python ruby perl gcc make
    cmake cargo rustc go ffmpeg convert blender steam dropbox skype telegram libreoffice evince nautilus gedit mpv
    audacity inkscape docker kubectl terraform ansible git curl wget jq tmux screen htop zsh bash ssh rsync php lua npm
    yarn postgres mysql redis mongod java11 python3 pip3 clang gdb strace
""".split()  # noqa: SIM905
_SERVICES = """
    apache2 postgresql mysql mariadb redis docker ssh sshd cron cups bluetooth NetworkManager mongodb rabbitmq haproxy
    grafana prometheus jenkins tomcat samba smbd vsftpd postfix dovecot bind9 named squid fail2ban avahi-daemon gdm3
    httpd php-fpm elasticsearch kibana memcached minio caddy traefik snapd rsyslog nginx
""".split()  # noqa: SIM905
_PACKAGES = """
    vim git curl wget tmux tree jq ffmpeg gimp vlc nodejs python3-pip build-essential cmake imagemagick zsh fish ripgrep
    neofetch nmap net-tools docker.io postgresql redis-server numpy pandas flask django scipy matplotlib pytest rich
    click pillow torch httpx sqlalchemy black mypy beautifulsoup4 scikit-learn openssh-server
""".split()  # noqa: SIM905
_MANUALS = """
    ls cp mv rm grep find awk sed ssh scp rsync curl wget chmod chown ps top kill df du mount cron crontab systemctl git
    bash zip gzip sort uniq head tail cut tr xargs diff patch ln cat less touch date
""".split()  # noqa: SIM905
_TERMS = """
    warning timeout failed refused password login null exception fatal debug fixme note invoice price total hello world
    success missing denied python linux import return deprecated foo bar baz red blue cat dog main true false yes no
    panic retry connected disconnect user admin query select update
""".split()  # noqa: SIM905
_TEXT_ENDINGS = (".txt", ".txt", ".md", ".md", ".log", ".json", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".conf",
                 ".py", ".c", ".cpp", ".h", ".js", ".ts", ".html", ".css", ".rst", ".tex", ".csv", ".sql", ".xml",
                 ".java", ".rs", ".go", ".sh", ".env", ".bak", ".docx", "")  # fmt: skip
_DOCUMENT_ENDINGS = (".pdf", ".pdf", ".docx", ".xlsx", ".odt", ".png", ".jpg", ".jpeg", ".pptx", ".mp3", ".mp4",
                     ".epub", ".svg", ".csv", ".txt", ".zip", ".key", ".wav", ".gif", ".ods")  # fmt: skip
_ONSETS = """
    b bl br c ch cl cr d dr f fl fr g gl gr h j k kl kr l m n p ph pl pr qu r s sch sh sk sl sm sn sp st str t th tr v w
    x y z
"""
_VOWELS = "a a a e e e i i o o u y ai au ea ee ie oo ou"
_CODAS = ("", "", "", "n", "r", "s", "t", "l", "m", "x", "ck", "ng", "nd", "st", "rt", "p", "d", "g")


def renaming(task: Task, text: str, rng: random.Random) -> dict[str, str]:
    """New names for some of those that stand both in the command of `task` and in `text`."""
    slots = {**_SLOTS, **_LOCAL.get(task.id, {})}
    names: dict[str, str] = {}
    used_with = f"{task.command} {text}"
    for name, kind in slots.items():
        if (
            _holds(task.command, name)
            and (_holds(text, name) or _holds(text, name.capitalize()))
            and rng.random() < 0.9
        ):
            new = make(kind, rng)
            if not _holds(used_with, new) and new not in names.values():
                names[name] = new
    if "alice" in names:
        names["Alice"] = names["alice"].capitalize()
    if "server.log.gz" in names:
        names["server.log"] = names["server.log.gz"].removesuffix(".gz")
    if "photos.zip" in names and "photos" in names and rng.random() < 0.5:
        names["photos.zip"] = names["photos"] + ".zip"
    return names


def make(kind: str, rng: random.Random) -> str:
    """A name of this kind; a kind that begins with "." lists endings."""
    if kind.startswith("."):
        return stem(rng) + rng.choice(kind.split())
    return _MAKERS[kind](rng)


def file_name(rng: random.Random) -> str:
    return stem(rng) + rng.choice(rng.choice((_TEXT_ENDINGS[:-1], _DOCUMENT_ENDINGS)))


def stem(rng: random.Random) -> str:
    """One to three words or inventions, joined in one of the usual ways, sometimes with digits."""
    parts = [_part(rng) for _ in range(rng.choices((1, 2, 3), (55, 37, 8))[0])]
    joint = rng.choice(("-", "_", "-", "_", "", ".", "camel", "Camel"))
    if joint in ("camel", "Camel"):
        parts = [part if i == 0 and joint == "camel" else part.capitalize() for i, part in enumerate(parts)]
        joint = ""
    digits = rng.random()
    if digits < 0.22:
        parts.append(rng.choice((str(rng.randrange(1, 30)), str(rng.randrange(1990, 2031)), f"v{rng.randrange(1, 9)}",
                                 f"{rng.randrange(1, 13):02d}", str(rng.randrange(100, 9999)), "final", "old", "new",
                                 f"2024-{rng.randrange(1, 13):02d}-{rng.randrange(1, 29):02d}")))  # fmt: skip
        joint = joint if rng.random() < 0.7 else ""
    text = joint.join(parts)
    if rng.random() < 0.05:
        text = text.upper()
    return text


def word(rng: random.Random) -> str:
    """An invented word of one to four syllables, or random letters."""
    if rng.random() < 0.2:
        return "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(2, 7)))
    onsets, vowels = _ONSETS.split(), _VOWELS.split()
    return "".join(
        rng.choice(onsets) + rng.choice(vowels) + rng.choice(_CODAS)
        for _ in range(rng.choices((1, 2, 3), (3, 5, 2))[0])
    )


def _part(rng: random.Random) -> str:
    return rng.choice(NOUNS) + ("s" if rng.random() < 0.2 else "") if rng.random() < 0.5 else word(rng)


def _place(rng: random.Random) -> str:
    """Mostly nothing, sometimes the folders before a file's name."""
    if rng.random() < 0.93:
        return ""
    return rng.choice(("src/", "~/", "/etc/", "docs/", "../", "/tmp/", "/home/", "/var/log/", f"{stem(rng)}/")) + (
        f"{_part(rng)}/" if rng.random() < 0.4 else ""
    )


def _known(words: list[str], share: float) -> Callable[[random.Random], str]:
    return lambda rng: rng.choice(words) if rng.random() < share else word(rng)


_MAKERS: dict[str, Callable[[random.Random], str]] = {
    "text": lambda rng: _place(rng) + stem(rng) + rng.choice(_TEXT_ENDINGS),
    "document": lambda rng: _place(rng) + stem(rng) + rng.choice(_DOCUMENT_ENDINGS),
    "folder": stem,
    "path": lambda rng: "/".join(stem(rng) for _ in range(rng.randint(2, 4))),
    "person": _known(_PEOPLE, 0.6),
    "word": lambda rng: rng.choice((_part(rng), stem(rng))),
    "host": lambda rng: (
        rng.choice(("", "", "www.", "api.", "git."))
        + re.sub(r"[._]", "-", stem(rng).lower())
        + rng.choice((".com", ".org", ".net", ".de", ".io", ".dev", ".co.uk", ".edu"))
    ),
    "address": lambda rng: ".".join(str(rng.randrange(1, 255)) for _ in range(4)),
    "port": lambda rng: str(rng.choice((80, 443, 3000, 5000, 5432, 8000, 8081, 9000, rng.randrange(1000, 65535)))),
    "number": lambda rng: str(rng.randrange(100, 99999)),
    "count": lambda rng: str(rng.choice((3, 5, 15, 25, 30, 40, 50, 100, 200, rng.randrange(2, 999)))),
    "program": _known(_PROGRAMS, 0.95),
    "service": _known(_SERVICES, 0.85),
    "package": _known(_PACKAGES, 0.6),
    "manual": _known(_MANUALS, 1.0),
    "branch": lambda rng: rng.choice(("", "", "fix/", "feature/", "dev-")) + stem(rng),
    "version": lambda rng: f"v{rng.randrange(0, 12)}.{rng.randrange(0, 30)}" + rng.choice(("", "", ".1", ".0", "-rc1")),
    "term": _known(_TERMS, 0.6),
    "message": lambda rng: " ".join(_part(rng) for _ in range(rng.randint(1, 4))),
    "device": lambda rng: "/dev/sd" + rng.choice("acdefg") + str(rng.randrange(1, 6)),
    "mount": lambda rng: rng.choice(("/mnt/", "/media/", "/srv/", "/")) + _part(rng),
}


def _holds(text: str, name: str) -> bool:
    return re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", text) is not None
