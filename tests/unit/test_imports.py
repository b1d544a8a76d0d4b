"""Arrows point down only: which room of the house may import from which, and that no import leads back to its start."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOMES = {"edge_wsd": ROOT / "edge_wsd", "edge_wsd.converters": ROOT / "converters"}

# cli, serve -> session -> pair -> engine -> decoding, llama -> native; prompts and models beside them. Converters use
# files and models in memory, and nothing below converters uses them: what pulls and converts stands above both.
# A room may import from itself, from those named here, and from the plain modules that import from no room.
ARROWS = {
    "cli": "authorship batch batch_files bench calibration conversation_file converters decoding demo engine "
    "evaluation llama models pair prompts pull serve session sessions staging",
    "serve": "asked batch conversation_file decoding demo engine llama lookups models pair prompts session",
    "pull": "models staging",
    "staging": "converters models",
    "converters": "llama models prompts",
    "evaluation": "batch decoding demo prompts",
    "bench": "decoding llama pair prompts",
    "calibration": "batch decoding pair prompts",
    "batch": "decoding engine pair prompts session",
    "batch_files": "decoding prompts",
    "sessions": "conversation_file memory_files session",
    "session": "asked authorship conversation_file decoding engine pair prompts",
    # It makes sessions, which are data.
    "pair": "asked decoding demo engine isolation llama loaded_model loaded_pair models pair_settings prompts session",
    # Its process has a pair in memory.
    "isolation": "asked decoding engine llama loaded_model loaded_pair lookups memory_files models pair_settings "
    "prompts",
    # They are called with a pair in memory.
    "lookups": "decoding loaded_pair prompts",
    "memory_files": "decoding engine llama loaded_pair prompts",
    "loaded_pair": "asked decoding engine llama loaded_model models pair_settings prompts raw_prompts reply",
    "pair_settings": "engine llama",
    "asked": "decoding engine prompts",
    "raw_prompts": "asked decoding loaded_model loaded_pair reply",
    "reply": "decoding engine json_schema llama loaded_model loaded_pair prompts",
    "loaded_model": "decoding llama prompts",
    "engine": "decoding llama",
    "conversation_file": "authorship decoding prompts",
    "authorship": "decoding",
    "demo": "decoding prompts",
    "models": "decoding demo llama",
    "pyinstaller": "",
    "prompts": "",
    "llama": "",
    "decoding": "json_schema",
    "json_schema": "",
}
PLAIN = {
    "__main__", "_native", "checks", "child_process", "control_groups", "errors", "files", "frames", "gbnf",
    "json_text", "pictures", "progress", "reading", "redaction", "disk_cache", "units", "user_folders",
}  # fmt: skip
# The same inside rooms; a room that is not named holds one layer.
INNER_ARROWS = {
    "models.gguf": "",
    "models.plan": "models.gguf",
    "models.probe": "models.gguf models.plan",
    "models.store": "models.gguf",
    "models.pairs": "models.store",
    "cli.ui": "",
    "cli": "cli.ui",
    "cli.commands": "cli cli.ui",
    "converters.checkpoint": "",
    "converters.tokenizers": "converters.checkpoint",
    "converters.families": "converters.checkpoint",
    "converters.writing": "converters.families converters.checkpoint",
    "converters.quantization": "converters.writing",
    "converters": "converters.quantization converters.writing converters.families converters.tokenizers "
    "converters.checkpoint",
    "converters.verification": "converters converters.quantization converters.families converters.tokenizers "
    "converters.checkpoint converters.writing",
}
# A pair makes sessions, which ask it; a pair in memory writes replies, which read its models; a context makes
# sequences, which are read in the context.
KNOW_EACH_OTHER = (
    {"edge_wsd.pair", "edge_wsd.session"},
    {"edge_wsd.loaded_pair", "edge_wsd.reply", "edge_wsd.raw_prompts"},
    {"edge_wsd.llama.context", "edge_wsd.llama.sequence", "edge_wsd.llama.scores", "edge_wsd.llama.signal_check"},
)


def modules() -> dict[str, Path]:
    found = {}
    for package, home in HOMES.items():
        for path in [*home.rglob("*.py"), *home.rglob("*.pyi")]:
            parts = [package, *path.relative_to(home).with_suffix("").parts]
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(module: str, *, for_types: bool) -> set[str]:
    """The modules of this package that `module` imports, at its head or inside functions."""
    path = MODULES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    unseen: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) and not for_types:
            unseen |= {id(each) for statement in node.body for each in ast.walk(statement)}
    found: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in unseen:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, node.module] if node.module else above)
            names = {f"{base}.{alias.name}" for alias in node.names}
            found |= names & set(MODULES) or {base}
    return {name for name in found if name in MODULES and name != module}


def room(module: str) -> str:
    """`edge_wsd.models.gguf.check` is in `models`; a module at the top is its own room."""
    return module.split(".")[1] if "." in module else ""


@pytest.mark.parametrize("module", sorted(MODULES))
def test_arrows_point_down(module):
    """`models` used to import from `converters`, which import from `models`."""
    here = room(module)
    if not here:
        return
    assert here in ARROWS or here in PLAIN, f"{module} is in no known room: say in this file what it may import"
    allowed = {here, "", *PLAIN, *ARROWS.get(here, "cli" if here == "__main__" else "").split()}
    wrong = {name for name in imports(module, for_types=False) if room(name) not in allowed}
    assert not wrong, f"{module} may not import {sorted(wrong)}"


def inner(module: str) -> str:
    """The room inside a room: `models.gguf`, or `cli` for what stands beside its rooms."""
    parts = module.split(".")[1:]
    path = MODULES[module]
    return ".".join(parts if path.name == "__init__.py" else parts[:-1])


@pytest.mark.parametrize("module", [name for name in sorted(MODULES) if inner(name) in INNER_ARROWS])
def test_arrows_point_down_inside_rooms(module):
    here = inner(module)
    known = {each for each in INNER_ARROWS if each.partition(".")[0] == here.partition(".")[0]}
    allowed = {here, *INNER_ARROWS[here].split()}
    found = {name for name in imports(module, for_types=False) if inner(name) in known and inner(name) not in allowed}
    assert not found, f"{module} may not import {sorted(found)}"


def circles(arrows: dict[str, set[str]]) -> list[list[str]]:
    """Modules that import each other, directly or by way of others."""
    reachable = {name: set(targets) for name, targets in arrows.items()}
    for middle in arrows:
        for name in arrows:
            if middle in reachable[name]:
                reachable[name] |= reachable[middle]
    together = {frozenset(other for other in reachable[name] if name in reachable[other]) for name in arrows}
    return sorted(sorted(circle) for circle in together if circle)


def test_no_import_leads_back_to_its_start():
    """There were three circles of imports inside functions."""
    assert circles({name: imports(name, for_types=False) for name in MODULES}) == []


def test_types_lead_back_only_where_two_know_each_other():
    """A circle of 19 modules was made of imports for types alone."""
    found = circles({name: imports(name, for_types=True) for name in MODULES})
    assert [circle for circle in found if not any(known.issuperset(circle) for known in KNOW_EACH_OTHER)] == []


def test_a_circle_would_be_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]


def test_only_one_room_knows_the_binding():
    for module, path in MODULES.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
        names += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level]
        if any(name.split(".")[0] == "llama_cpp" for name in names):
            assert room(module) == "llama", f"{module} imports llama_cpp"
