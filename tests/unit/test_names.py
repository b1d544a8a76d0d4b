"""One name, one meaning: what is public has a name that stands for nothing else in the house."""

import ast
from collections import defaultdict

from tests.unit.test_imports import MODULES

# The algorithm names what it asks for; llama/ has it.
ASKED_FOR = {"Sampler", "Sequence"}
# A file's types are made by rules of their own, the demonstration's tasks are questions, a load counts shares.
KNOWN = {"Rule", "Task", "Progress"}
TYPE_VARIABLES = {"T", "F"}


def public_types(module: str) -> set[str]:
    """The classes and aliases of types that a module makes."""
    found = set()
    for node in ast.parse(MODULES[module].read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return {name for name in found if name[0].isupper() and not name.isupper()}


def test_a_type_has_its_name_for_itself():
    """There were ten aliases `Progress`, three classes `Options` and two `Batch`."""
    homes = defaultdict(list)
    for module in MODULES:
        if not module.endswith("_native"):
            for name in public_types(module) - TYPE_VARIABLES:
                homes[name].append(module)
    shared = {name: modules for name, modules in homes.items() if len(modules) > 1}
    assert {name: modules for name, modules in shared.items() if name not in ASKED_FOR | KNOWN} == {}
