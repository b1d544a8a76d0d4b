"""A hostile chat template gets neither out of the sandbox nor endless time nor all memory, nor keeps Ctrl-C away."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import datetime

import pytest

from edge_wsd.errors import TemplateError, TemplateStoppedError
from edge_wsd.prompts import process_memory
from edge_wsd.prompts.chat_template import ChatTemplate
from edge_wsd.prompts.messages import Message
from edge_wsd.prompts.renderer import Renderer, RenderingFailed, shared_renderer
from edge_wsd.prompts.renderer_child import MEMORY_BYTES

GROW = "{% set n = namespace(x='ab') %}{% for i in range(60) %}"
THRICE = "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}"
NOW = datetime(2025, 3, 9)
# Posix ends a child by its processor time; elsewhere a watchdog does, after a longer while.
posix = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs a clock for processor time")


def render(source: str, content: str = "Hello") -> str:
    return ChatTemplate(source, bos="<s>", eos="</s>", name="hostile").render([Message("user", content)])


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ ''['__class__'] }}",
        "{{ ''|attr('__class__') }}{{ ''|attr('__class__')|attr('__mro__') }}",
        "{{ raise_exception.__globals__ }}",
        "{{ strftime_now.__globals__['__builtins__'] }}",
        "{{ cycler.__init__.__globals__.os.system('true') }}",
        "{{ '{0.__class__.__init__.__globals__}'.format(messages) }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update({'role': 'system'}) }}",
        "{{ self._TemplateReference__context.environment }}",
        "{{ lipsum.__globals__ }}",
    ],
)
def test_the_insides_of_python_stay_out_of_reach(source: str) -> None:
    with pytest.raises(TemplateError):
        render(source)


@posix
@pytest.mark.parametrize(
    "source",
    [
        THRICE + "{% endfor %}" * 3,
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
        "{% for a in range(99999) if not range(99999)|sum %}{% endfor %}",
        "{% macro f() %}{{ caller() }}{% endmacro %}{% for a in range(99999) %}{% for b in messages * 9999 %}"
        "{% call f() %}{% endcall %}{% endfor %}{% endfor %}",
        "{{ 9 ** (9 ** 9) }}",  # in the compiler already
        "{% set x = messages|length + 8 %}{{ x ** (x ** x) }}",  # one call of C code that holds Python's lock
        "{% for a in range(9999) %}{{ range(9999)|list|sort|length }}{% endfor %}",
    ],
)
def test_a_template_without_end_is_stopped(source: str) -> None:
    with pytest.raises(TemplateStoppedError, match="more than 2 s"):
        render(source)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of one process")
@pytest.mark.parametrize(
    "source",
    [
        "{{ '%999999999d' % messages|length }}",
        "{{ '%*d' % (999999999, 1) }}",
        "{{ '{:{w}}'.format(1, w=999999999) }}",
        "{{ 'a'.ljust(999999999) }}",
        "{{ 'a'.encode().ljust(3000000000) }}",
        "{{ ('\t' * 9999).expandtabs(99999) }}",
        "{{ ('a' * 9999).translate({97: 'b' * 99999}) }}",
        "{{ messages|length.to_bytes(3000000000, 'big') }}"
        if sys.version_info >= (3, 12)
        else "{{ 'a' * 3000000000 }}",
        "{{ 'a'|center(999999999) }}",
        "{{ 'a\nb'|indent(999999999) }}",
        "{{ messages|tojson(indent=999999999) }}",
        "{{ ('<' * 99999999)|forceescape|forceescape }}",
        "{{ [0] * 999999999 }}",
        "{{ ([range(9999)|list] * 999)|tojson }}",
        "{{ ([range(9999)|list] * 9999)|sum(start=[])|length }}",
        GROW + "{% set n.x = n.x + n.x %}{% endfor %}",
        GROW + "{% set n.x = n.x ~ n.x %}{% endfor %}",
        GROW + "{% set n.x %}{{ n.x }}{{ n.x }}{% endset %}{% endfor %}",
        GROW + "{% set n.x = n.x.replace('a', n.x) %}{% endfor %}",
        GROW + "{% set n.x = n.x|replace('a', n.x) %}{% endfor %}",
        GROW + "{% set n.x = n.x.join([n.x, n.x, n.x]) %}{% endfor %}",
        GROW + "{% set n.x = [n.x, n.x]|join(n.x) %}{% endfor %}",
        "{% set n = namespace(x=[1]) %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}",
        "{% set b = 'a' * 60000 %}{% for i in range(99999) %}{{ b }}{% endfor %}",
    ],
)
def test_a_template_that_takes_all_memory_is_stopped(source: str) -> None:
    with pytest.raises(TemplateStoppedError, match=r"memory|more than 2 s|characters"):
        render(source)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_process_that_renders_stays_within_its_memory() -> None:
    renderer = Renderer()
    peak = 0

    def watch() -> None:
        nonlocal peak
        while (child := renderer._child) is not None:
            with open(f"/proc/{child.pid}/status", encoding="ascii") as status:
                lines = [line.split() for line in status if line.startswith("VmHWM")]
            peak = max(peak, *(int(line[1]) << 10 for line in lines), 0)
            time.sleep(0.001)

    renderer.start()
    watcher = threading.Thread(target=watch)
    watcher.start()
    source = (
        "{% set n = namespace(x=['a' * 9999]) %}{% for i in range(60) %}{% set n.x = n.x + [n.x|string] %}{% endfor %}"
    )
    try:
        with pytest.raises(RenderingFailed):
            renderer.render(source, {"messages": []}, NOW)
    finally:
        renderer.close()
        watcher.join()
    assert 16 << 20 < peak < MEMORY_BYTES + (64 << 20)  # libraries that were mapped before come on top


def test_an_answer_of_no_sensible_length_is_refused() -> None:
    with pytest.raises(TemplateStoppedError, match="more than 33,554,432 characters"):
        render("{{ 'a' * 33554433 }}")
    assert len(render("{{ 'a' * 33554432 }}")) == 33_554_432


@posix
def test_ctrl_c_is_heard_at_once_inside_a_template_that_never_ends() -> None:
    program = (
        "from datetime import datetime\n"
        "from edge_wsd.prompts.renderer import shared_renderer\n"
        "shared_renderer().render('ready', {}, datetime.now())\n"
        "try:\n"
        "    print('ready', flush=True)\n"
        "    shared_renderer().render('{% set x = a + 8 %}{{ x ** (x ** x) }}', {'a': 1}, datetime.now())\n"
        "except KeyboardInterrupt:\n"
        "    print('heard', shared_renderer().render('again', {}, datetime.now()), flush=True)\n"
    )
    asked = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert asked.stdout is not None and asked.stdout.readline() == "ready\n"
    time.sleep(0.2)  # into the rendering
    asked.send_signal(signal.SIGINT)
    assert asked.communicate(timeout=60)[0] == "heard again\n"


def test_after_a_template_was_stopped_the_next_one_is_rendered() -> None:
    for _ in range(2):
        with pytest.raises(TemplateStoppedError):
            render("{{ 'a' * 99999999 }}")
        assert render("{{ messages[0].content }}") == "Hello"


def test_a_process_that_was_killed_is_replaced() -> None:
    renderer = Renderer()
    assert renderer.render("{{ a }}", {"a": 1}, NOW) == "1"
    assert renderer._child is not None
    renderer._child.kill()
    renderer._child.wait()
    assert renderer.render("{{ a }}", {"a": 2}, NOW) == "2"
    renderer.close()


GREEDY = "import sys, time\nsys.stdin.buffer.read(9)\nkept = bytearray(400 << 20)\ntime.sleep(5)"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_where_the_system_bounds_no_memory_the_parent_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """On macOS and Windows nothing kept a template from taking all memory within its 2 s."""

    def resident(child: "subprocess.Popen[bytes]") -> int:
        with open(f"/proc/{child.pid}/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * 4096

    monkeypatch.setattr("edge_wsd.prompts.renderer.memory_of", resident)
    monkeypatch.setattr("edge_wsd.prompts.renderer._WATCHDOG_SECONDS", 600)
    renderer = Renderer([sys.executable, "-c", GREEDY])
    with pytest.raises(RenderingFailed, match="256 MB of memory"):
        renderer.render("{{ a }}", {"a": 1}, NOW)
    assert Renderer().render("{{ a }}", {"a": 1}, NOW) == "1"


def test_the_structures_that_other_systems_fill_in_have_their_sizes() -> None:
    """As in macOS' <sys/resource.h> and Windows' <psapi.h>, on systems of 64 bits."""
    assert ctypes.sizeof(ctypes.c_uint64 * process_memory._WORDS_OF_RUSAGE) == 16 + 10 * 8
    assert ctypes.sizeof(process_memory._Counters) == 72 and process_memory._Counters.committed.offset == 56


def test_a_process_that_says_nothing_is_an_error_with_its_last_words() -> None:
    renderer = Renderer([sys.executable, "-c", "import sys; sys.exit('no room')"])
    with pytest.raises(RenderingFailed, match=r"ended \(exit code 1\): no room"):
        renderer.render("{{ a }}", {"a": 1}, NOW)


def test_a_process_that_does_not_start_is_a_typed_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_wsd.prompts.chat_template.shared_renderer", lambda: Renderer(["./no-such-program"]))
    with pytest.raises(TemplateError, match="does not start: No such file"):
        render("{{ a }}")


def test_renderings_of_many_threads_do_not_mix() -> None:
    wrong = []

    def ask(number: int) -> None:
        for turn in range(20):
            text = f"{number}-{turn}"
            if render("{{ messages[0].content }}", text) != text:
                wrong.append(text)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_renders_with_a_child_of_its_own() -> None:
    assert render("{{ messages[0].content }}") == "Hello"
    ours = shared_renderer()
    child = os.fork()
    if child == 0:
        os._exit(0 if render("{{ messages[0].content }}", "x") == "x" and shared_renderer() is not ours else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert render("{{ messages[0].content }}") == "Hello"


def test_a_long_conversation_is_no_attack() -> None:
    source = "{% for m in messages %}{{ '<' + m.role ~ '>' + m.content.strip().replace('\n', ' ') }}{% endfor %}"
    template = ChatTemplate(source, bos="", eos="", name="honest")
    text = "word\n" * 2000
    messages = [Message("user", text), Message("assistant", text)] * 200 + [Message("user", "last")]
    assert template.render(messages).endswith("<user>last")
