"""The sidecar of docs/desktop.md, as other programs start it: ready, with a key, and gone with its parent."""

import json
import os
import re
import shutil
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
KEY = "secret"

IN_PYTHON = """
import os, subprocess, sys, time
ours, theirs = os.pipe()
arguments = ["serve", "--pair", "demo", "--port", "0", "--isolate", "--ready-fd", str(theirs), "--until-stdin-closes"]
environment = {**os.environ, "EDGE_WSD_API_KEY": sys.argv[1]}
child = subprocess.Popen(["edge-wsd", *arguments], stdin=subprocess.PIPE, pass_fds=[theirs], env=environment)
os.close(theirs)
print(os.fdopen(ours).readline(), flush=True)
time.sleep(600)
"""
END_OF_JAVASCRIPT = "startPair().then(({ url, key }) => console.log(JSON.stringify({ url, key })));"
END_OF_RUST = """
fn main() {
    let key = std::env::args().nth(1).unwrap();
    let server = start(Path::new("edge-wsd"), &key).unwrap();
    println!("{{\\"url\\": \\"{}\\"}}", server.url);
    thread::sleep(std::time::Duration::from_secs(600));
}
"""


def recipe(language):
    """The program of that language in the document."""
    (text,) = re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / "docs" / "desktop.md").read_text("utf-8"), re.S | re.M)
    return text


def parent(language, folder):
    """How to start a program that starts a server, and says its address and its key, if that is not ours, as JSON."""
    tool = {"python": sys.executable, "js": shutil.which("node"), "rust": shutil.which("rustc")}[language]
    if tool is None:
        pytest.skip(f"there is nothing here that runs {language}")
    if language == "python":
        return [tool, "-c", IN_PYTHON, KEY]
    program = folder / f"parent.{language}"
    program.write_text(recipe(language) + {"js": END_OF_JAVASCRIPT, "rust": END_OF_RUST}[language], encoding="utf-8")
    if language == "js":
        return [tool, str(program)]
    subprocess.run([tool, "--edition", "2021", "-D", "warnings", "parent.rust", "-o", "parent"], cwd=folder, check=True)
    return [str(folder / "parent"), KEY]


def ask(url, key):
    body = json.dumps({"messages": [{"role": "user", "content": "How do I list files by size?"}], "max_tokens": 20})
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    request = urllib.request.Request(f"{url}/v1/chat/completions", body.encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)["choices"][0]["message"]["content"]


@pytest.mark.skipif(os.name == "nt", reason="descriptors are not passed on like this on Windows")
@pytest.mark.parametrize("language", ["python", "js", "rust"])
def test_a_sidecar_is_ready_answers_survives_its_models_and_ends_with_its_parent(language, tmp_path):
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    environment = {**os.environ, "PATH": path, "EDGE_WSD_PAIRS": str(tmp_path / "pairs.toml")}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(parent(language, tmp_path), cwd=ROOT, env=environment, text=True, **pipes) as started:
        try:
            ready = json.loads(started.stdout.readline())
            url, key = ready["url"], ready.get("key", KEY)
            assert ask(url, key)
            with pytest.raises(urllib.error.HTTPError, match="401"):
                ask(url, "another")
            (server,) = psutil.Process(started.pid).children()
            models = [child for child in server.children(recursive=True) if "isolation.worker" in child.cmdline()[-1]]
            assert len(models) == 1
            models[0].kill()
            models[0].wait()
            assert ask(url, key)
            family = [server, *server.children(recursive=True)]
        finally:
            started.send_signal(signal.SIGKILL)
        _, alive = psutil.wait_procs(family, timeout=30)
        for process in alive:
            process.kill()
        assert alive == []
