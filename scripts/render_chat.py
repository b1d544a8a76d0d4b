"""Draws docs/chat.svg: a real `edge-wsd chat` over the demo pair, run in a pseudo terminal, colours and all.

    python scripts/render_chat.py [QUESTION ...] [--out docs/chat.svg] [--columns 84]

Nothing is staged: the program runs as a person would run it, and the picture is what its terminal showed at the end.
"""

from __future__ import annotations

import argparse
import fcntl
import io
import os
import re
import select
import struct
import subprocess
import sys
import tempfile
import termios
import time
from itertools import groupby
from pathlib import Path

import pyte
from rich.console import Console
from rich.style import Style
from rich.text import Text

HERE = Path(__file__).resolve().parent
QUESTIONS = ("How do I list files by size?", "How do I delete the file notes.txt?")
PROMPT = ">>> "
ROWS = 200  # more than the conversation has, so that nothing scrolls away
QUIET_S, TIMEOUT_S = 0.6, 60.0
_HEX = re.compile("[0-9a-f]{6}")

# rich's own frame loads a font from the network; this one takes the reader's monospaced font.
FRAME = """\
<svg class="edge-wsd" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{
  font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: {char_height}px;
  line-height: {line_height}px;
}}
.{unique_id}-title {{ font-size: 18px; font-family: sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("questions", nargs="*", default=QUESTIONS, metavar="QUESTION")
    parser.add_argument("--out", type=Path, default=HERE.parent / "docs" / "chat.svg")
    parser.add_argument("--columns", type=int, default=84, help="width of the terminal (84)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of each model (1)")
    arguments = parser.parse_args()
    screen = converse(arguments.questions, arguments.columns, arguments.threads)
    arguments.out.write_text(as_svg(screen), encoding="utf-8")
    print(f"{arguments.out}: {len(arguments.questions)} questions", file=sys.stderr)


def converse(questions: list[str] | tuple[str, ...], columns: int, threads: int) -> pyte.Screen:
    """The terminal's screen after the program has answered every question."""
    terminal = Terminal(columns)
    with tempfile.TemporaryDirectory() as home:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": home,  # no history of the person who draws
            "TERM": "xterm-256color",
            "LANG": "C.UTF-8",
            "PROMPT_TOOLKIT_NO_CPR": "1",
        }
        process = terminal.start([sys.executable, "-m", "edge_wsd", "chat", "--threads", str(threads)], environment)
        try:
            for question in questions:
                terminal.wait_for_prompt()
                terminal.type(question)
                terminal.type("\r")
            terminal.wait_for_prompt()
        finally:
            process.kill()
            process.wait()
    return terminal.screen


class Terminal:
    """A pseudo terminal with a program in it, and the screen that a person would see."""

    def __init__(self, columns: int) -> None:
        self.screen = pyte.Screen(columns, ROWS)
        self._stream = pyte.Stream(self.screen)
        self._ours, self._theirs = os.openpty()
        fcntl.ioctl(self._theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))

    def start(self, command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
        ends = {"stdin": self._theirs, "stdout": self._theirs, "stderr": self._theirs}
        process = subprocess.Popen(command, env=environment, start_new_session=True, cwd=HERE.parent, **ends)
        os.close(self._theirs)
        return process

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())
        time.sleep(0.2)  # a line break right behind text could be taken for one that was pasted

    def wait_for_prompt(self) -> None:
        """Until the program waits for the next line: the prompt is there and nothing more comes."""
        end = time.monotonic() + TIMEOUT_S
        while time.monotonic() < end:
            while select.select([self._ours], [], [], QUIET_S)[0]:
                # pyte knows nothing of faint text, and the program writes nothing in italics.
                data = os.read(self._ours, 65536).decode(errors="replace").replace("\x1b[2m", "\x1b[3m")
                self._stream.feed(data)
            line = self.screen.display[self.screen.cursor.y]
            if line.startswith(PROMPT) and self.screen.cursor.x == len(PROMPT):
                return
        raise SystemExit(f"no prompt within {TIMEOUT_S:.0f} s; the terminal shows:\n{visible(self.screen)}")


def visible(screen: pyte.Screen) -> str:
    """The screen's text without the empty rest."""
    return "\n".join(line.rstrip() for line in screen.display).rstrip()


def as_svg(screen: pyte.Screen) -> str:
    """The conversation, up to the last prompt, in a terminal's frame."""
    console = Console(record=True, width=screen.columns, file=io.StringIO(), color_system="truecolor")
    console.print(Text("$ edge-wsd chat"), soft_wrap=True)
    lines = [styled_line(screen, row) for row in range(screen.cursor.y)]
    while lines and not lines[-1].plain:
        lines.pop()
    for line in lines:
        console.print(line, soft_wrap=True)
    drawing = console.export_svg(title="edge-wsd chat", code_format=FRAME, unique_id="chat")
    return "\n".join(line.rstrip() for line in drawing.splitlines()) + "\n"


def styled_line(screen: pyte.Screen, row: int) -> Text:
    """One line of the screen with its colours."""
    cells = [screen.buffer[row][column] for column in range(screen.columns)]
    line = Text()
    for (colour, bold, faint), run in groupby(cells, key=lambda cell: (cell.fg, cell.bold, cell.italics)):
        named = None if colour == "default" else f"#{colour}" if _HEX.fullmatch(colour) else colour
        line.append("".join(cell.data for cell in run), Style(color=named, bold=bold, dim=faint))
    line.rstrip()
    return line


if __name__ == "__main__":
    main()
