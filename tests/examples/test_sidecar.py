"""The sidecar of docs/desktop.md, as another program starts it: ready, with a key, and gone with its parent."""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest

pytest.importorskip("fastapi", exc_type=ImportError)
ROOT = Path(__file__).parents[2]
PARENT = """
import os, subprocess, sys, time
ours, theirs = os.pipe()
arguments = ["serve", "--pair", "demo", "--port", "0", "--isolate", "--ready-fd", str(theirs), "--until-stdin-closes"]
child = subprocess.Popen([sys.executable, "-m", "edge_wsd", *arguments], stdin=subprocess.PIPE, pass_fds=[theirs])
os.close(theirs)
print(os.fdopen(ours).readline(), flush=True)
time.sleep(600)
"""


def ask(url, key):
    body = json.dumps({"messages": [{"role": "user", "content": "How do I list files by size?"}], "max_tokens": 20})
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    request = urllib.request.Request(f"{url}/v1/chat/completions", body.encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)["choices"][0]["message"]["content"]


@pytest.mark.skipif(os.name == "nt", reason="descriptors are not passed on like this on Windows")
def test_a_sidecar_is_ready_answers_survives_its_models_and_ends_with_its_parent():
    environment = {**os.environ, "EDGE_WSD_API_KEY": "secret"}
    command = [sys.executable, "-c", PARENT]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, env=environment, text=True, **pipes) as parent:
        try:
            ready = json.loads(parent.stdout.readline())
            assert ask(ready["url"], "secret")
            with pytest.raises(urllib.error.HTTPError, match="401"):
                ask(ready["url"], "another")
            server = psutil.Process(ready["pid"])
            models = [child for child in server.children(recursive=True) if "isolation.worker" in child.cmdline()[-1]]
            assert len(models) == 1
            models[0].kill()
            models[0].wait()
            assert ask(ready["url"], "secret")
            family = [server, *server.children(recursive=True)]
        finally:
            parent.send_signal(signal.SIGKILL)
        _, alive = psutil.wait_procs(family, timeout=30)
        assert alive == []
