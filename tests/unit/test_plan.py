"""The memory plan over devices that are made up: what goes where, what gives way, and what is said about it."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from edge_wsd.errors import PlanError
from edge_wsd.llama.library import Device
from edge_wsd.llama.repacking import Repacking
from edge_wsd.llama.settings import DEFAULT_CACHE_RAM, DEFAULT_CONTEXT_LENGTH, ModelSettings
from edge_wsd.llama.tools.measure import Simulated, read_log
from edge_wsd.models.gguf.shape import shape_of_file
from edge_wsd.models.plan.host_memory import host_memory
from edge_wsd.models.plan.known_shapes import KNOWN_MODELS, known_shape
from edge_wsd.models.plan.layout import MIN_CONTEXT
from edge_wsd.models.plan.machine import Machine, margin
from edge_wsd.models.plan.memory import cells, layer_kv_bytes, placed_memory
from edge_wsd.models.plan.placement import HOST, place
from edge_wsd.models.plan.planner import plan_pair, require_possible
from edge_wsd.models.plan.quant_recipe import RECIPES, stored_as
from tests.tiny_models import TinyModel, numbers, string

GIB = 1 << 30
DRAFTER = known_shape("songff/Pilot-3B:Q8_0")
BASE = known_shape("meta-llama/Llama-3.1-8B:Q4_K_M")
LARGE = known_shape("meta-llama/Llama-3.1-70B:Q4_K_M")
ALL_OF_DRAFTER, ALL_OF_BASE = DRAFTER.n_layers + 1, BASE.n_layers + 1


@pytest.fixture(autouse=True)
def _a_processor_that_rearranges_nothing(monkeypatch):
    monkeypatch.setattr("edge_wsd.llama.repacking.repacked_types", lambda settings: {})


def machine(host: float, *gpus: float, kind: str = "gpu", name: str = "CUDA") -> list[Device]:
    """Devices with this many GiB, all free; the host comes last, as in llama.cpp's list."""
    found = [
        Device(number, f"{name}{number}", "made up", kind, int(size * GIB), int(size * GIB))
        for number, size in enumerate(gpus)
    ]
    return [*found, Device(len(gpus), "CPU", "made up", "cpu", int(host * GIB), int(host * GIB))]


def plan_on(devices, base=BASE, settings=None):
    """A plan with the same settings for both."""
    return plan_pair(DRAFTER, base, settings, settings, devices)


def test_without_a_gpu_everything_is_on_the_host():
    plan = plan_on(machine(32))
    assert plan.fits and not plan.notes
    assert (plan.drafter.settings.gpu_layers, plan.base.settings.gpu_layers) == (0, 0)
    assert plan.devices[0].used == plan.drafter.memory.all.total + plan.base.memory.all.total


def test_inputs_are_there_four_times_where_several_devices_have_all_layers():
    """llama.cpp lets passes overlap then."""
    shape, settings = BASE, ModelSettings(context_length=8192, batch=512, flash_attention="on")
    n_all = shape.n_layers + 1
    both, one, most = (place(shape.n_layers, *how) for how in ((n_all, [1, 1]), (n_all, [1]), (n_all - 1, [1, 1])))
    memories = [placed_memory(shape, settings, placement, n_gpus=2) for placement in (both, one, most)]
    mask, embeddings, places = 8192 * 512 * 2, 512 * shape.n_embd * 4, 512 * 3 * 8
    hosts = [memory.host.compute for memory in memories]
    assert hosts[1] == mask + 2 * embeddings + places
    assert hosts[0] == hosts[1] + 3 * (mask + embeddings + places)
    first = [memory.gpus[0].compute for memory in memories]
    assert first[0] - first[2] == 3 * (mask + embeddings + places) - max(shape.largest_in_layer[:1])


def test_on_a_large_gpu_all_layers_are_on_it():
    plan = plan_on(machine(32, 24))
    assert (plan.drafter.memory.gpu_layers, plan.base.memory.gpu_layers) == (ALL_OF_DRAFTER, ALL_OF_BASE)
    assert plan.fits and not plan.notes
    for model in (plan.drafter, plan.base):  # the input embedding is looked up on the host
        assert model.memory.host.weights == sum(weight.n_bytes for weight in model.memory.shape.input_weights)
        assert model.memory.host.kv_cache == 0


def test_on_a_small_gpu_the_drafter_goes_first_and_layers_of_the_base_give_way():
    plan = plan_on(machine(32, 8))
    assert plan.drafter.memory.gpu_layers == ALL_OF_DRAFTER
    assert 0 < plan.base.memory.gpu_layers < ALL_OF_BASE
    staying = ALL_OF_BASE - plan.base.memory.gpu_layers
    assert plan.gives_way == (
        f"{staying} of the base's {ALL_OF_BASE} layers stay on the host: 8.0 GiB free on CUDA0, "
        "and the drafter goes first",
    )
    assert plan.fits


def test_as_many_layers_as_fit_and_not_one_more():
    devices, length = machine(32, 8), ModelSettings(context_length=8192)
    plan = plan_on(devices, settings=length)
    limit = devices[0].free_bytes - margin(devices[0])
    assert plan.devices[1].used <= limit
    more = replace(length, gpu_layers=plan.base.memory.gpu_layers + 1)
    assert plan_pair(DRAFTER, BASE, length, more, devices).devices[1].used > limit


def test_a_drafter_that_does_not_fit_keeps_what_fits_and_is_never_dropped():
    plan = plan_on(machine(32, 4))
    assert 0 < plan.drafter.memory.gpu_layers < ALL_OF_DRAFTER
    assert plan.base.memory.gpu_layers == 0
    assert [line.split("'")[0].rsplit(" ", 1)[-1] for line in plan.gives_way] == ["base", "drafter"]


def test_two_gpus_share_a_base_and_the_drafter_is_on_one_of_them():
    plan = plan_on(machine(64, 24, 24), base=LARGE)
    assert plan.drafter.settings.main_gpu == 0 and plan.base.settings.main_gpu is None
    assert {0, 1} <= set(plan.base.memory.placement)
    assert all(one.short == 0 for one in plan.devices)


def test_the_drafter_takes_the_larger_gpu_and_a_base_that_fits_into_one_is_not_split():
    plan = plan_on(machine(64, 8, 24))
    assert plan.drafter.settings.main_gpu == 1
    assert plan.base.memory.gpu_layers == ALL_OF_BASE and len(set(plan.base.memory.placement)) == 1


def test_a_gpu_with_the_hosts_memory_is_not_counted_twice():
    unified, apart = plan_on(machine(16, 12, name="MTL")), plan_on(machine(16, 12))
    assert unified.devices[1].shares_host and not apart.devices[1].shares_host
    assert unified.devices[0].used == apart.devices[0].used + apart.devices[1].used
    assert plan_on(machine(16, 12, kind="integrated gpu", name="Vulkan")).devices[1].shares_host


@pytest.mark.parametrize(
    ("drafter", "base", "gpus", "apart"),
    [
        (0, -1, (80,), True),  # drafter on the processor, base on the GPU
        (-1, 0, (80,), True),
        (0, 0, (80,), False),
        (-1, -1, (80,), False),
        (0, 5, (80,), False),  # the base is on both
        (-1, -1, (24, 24), False),  # spread over both GPUs
    ],
)
def test_models_lie_apart_where_no_device_computes_layers_of_both(drafter, base, gpus, apart):
    settings = [ModelSettings(gpu_layers=layers) for layers in (drafter, base)]
    assert plan_pair(DRAFTER, BASE, *settings, machine(64, *gpus)).lies_apart is apart


def test_models_on_a_gpu_each_lie_apart():
    settings = [ModelSettings(gpu_layers=-1, main_gpu=gpu) for gpu in range(2)]
    assert plan_pair(DRAFTER, BASE, *settings, machine(64, 24, 24)).lies_apart


def test_an_integrated_gpu_is_left_alone_beside_a_real_one():
    devices = [Device(7, "Vulkan0", "made up", "integrated gpu", 8 * GIB, 8 * GIB), *machine(32, 24)]
    assert [gpu.name for gpu in Machine.of(devices).gpus] == ["CUDA0"]


def test_explicit_settings_are_kept():
    asked = ModelSettings(gpu_layers=5, context_length=3000, kv_type="q8_0")
    plan = plan_pair(DRAFTER, BASE, None, asked, machine(32, 24))
    assert plan.base.settings == asked
    assert plan.base.memory.gpu_layers == 5 and plan.base.memory.n_ctx == 3000 and cells(3000) == 3072
    one = plan_pair(DRAFTER, BASE, ModelSettings(main_gpu=1), ModelSettings(main_gpu=0), machine(32, 24, 24))
    assert set(one.drafter.memory.placement) == {1} and set(one.base.memory.placement) == {0}


def test_a_gpu_that_is_not_there_is_an_error():
    with pytest.raises(PlanError, match=r"--main-gpu 3: there is no such GPU; expected one of 0 \(CUDA0\)"):
        plan_pair(DRAFTER, BASE, ModelSettings(main_gpu=3), None, machine(32, 24))


def test_too_many_explicit_layers_do_not_fit_and_auto_is_named():
    plan = plan_pair(DRAFTER, BASE, None, ModelSettings(gpu_layers=-1), machine(32, 6))
    assert plan.verdict == "does not fit" and plan.devices[1].short > 0
    assert "CUDA0 is" in plan.problem and plan.remedy.startswith("--gpu-layers auto would put ")


NO_MMAP = ModelSettings(mmap=False)


def test_a_context_that_was_not_asked_for_becomes_as_short_as_it_must_and_no_shorter():
    plan = plan_on(machine(11.0), settings=NO_MMAP)
    length = plan.base.memory.n_ctx
    assert plan.fits and MIN_CONTEXT <= length < DEFAULT_CONTEXT_LENGTH
    assert plan.base.settings.context_length == plan.drafter.settings.context_length == length
    assert f"the context is {length:,} tokens instead of {DEFAULT_CONTEXT_LENGTH:,}" in plan.gives_way[-1]
    longer = replace(plan.base.settings, context_length=length + 256)
    assert not plan_pair(DRAFTER, BASE, longer, longer, machine(11.0)).fits


def test_an_explicit_context_never_becomes_shorter():
    wanted = ModelSettings(context_length=DEFAULT_CONTEXT_LENGTH, mmap=False)
    plan = plan_pair(DRAFTER, BASE, wanted, wanted, machine(11.0))
    assert plan.verdict == "does not fit" and plan.base.memory.n_ctx == DEFAULT_CONTEXT_LENGTH
    found = re.match(r"a shorter context would fit: try --ctx (\d+); or the base as Q4_K_S \(", plan.remedy)
    assert found
    for length, fits in ((int(found[1]), True), (int(found[1]) + 256, False)):  # the longest; it was always 2048
        shorter = replace(wanted, context_length=length)
        assert plan_pair(DRAFTER, BASE, shorter, shorter, machine(11.0)).fits is fits


def test_advice_on_the_context_is_for_the_model_whose_context_is_too_long():
    long = ModelSettings(context_length=100_000, mmap=False)
    plan = plan_pair(DRAFTER, BASE, None, long, machine(12.0))
    found = re.match(r"a shorter context would fit: try --base-ctx (\d+)", plan.remedy)
    assert found and int(found[1]) > MIN_CONTEXT
    assert plan_pair(DRAFTER, BASE, None, replace(long, context_length=int(found[1])), machine(12.0)).fits


class TestMemoryForTextsThatHaveLeftTheContext:
    def test_is_half_of_what_both_models_leave_for_each_and_no_more_than_a_limit(self):
        plan = plan_on(machine(16))
        left = plan.devices[0].device.free_bytes - plan.devices[0].margin - plan.devices[0].used
        for host, expected in ((64, DEFAULT_CACHE_RAM << 20), (16, min(left // 2, DEFAULT_CACHE_RAM << 20)), (9, 0)):
            plan = plan_on(machine(host))
            assert plan.drafter.cache_bytes == plan.base.cache_bytes == expected
        tight = plan_on(machine(11.5), settings=ModelSettings(context_length=4096))
        assert 0 < tight.base.cache_bytes < DEFAULT_CACHE_RAM << 20
        free = tight.devices[0].device.free_bytes - tight.devices[0].margin
        assert tight.devices[0].used + 2 * tight.base.cache_bytes <= free

    def test_takes_nothing_from_the_models_unless_it_is_asked_for(self):
        plain, none = plan_on(machine(64)), plan_on(machine(64), settings=ModelSettings(cache_ram=0))
        asked = plan_pair(DRAFTER, BASE, None, ModelSettings(cache_ram=3000), machine(64))
        assert plain.devices[0].used == none.devices[0].used == asked.devices[0].used - (3000 << 20)
        assert (none.drafter.cache_bytes, none.base.cache_bytes) == (0, 0)
        assert (asked.drafter.cache_bytes, asked.base.cache_bytes) == (DEFAULT_CACHE_RAM << 20, 3000 << 20)

    def test_that_is_asked_for_may_be_too_much(self):
        plan = plan_on(machine(16), settings=ModelSettings(cache_ram=8000))
        assert plan.verdict == "does not fit" and plan.devices[0].short > 0

    def test_is_the_hosts_also_of_models_on_a_gpu(self):
        plan = plan_on(machine(32, 24), settings=ModelSettings(cache_ram=500))
        assert plan.base.memory.host.cache == 500 << 20 and plan.base.memory.gpus[0].cache == 0


def test_layers_give_way_before_the_context():
    plan = plan_on(machine(12, 8), settings=NO_MMAP)
    assert plan.base.memory.gpu_layers < ALL_OF_BASE and plan.base.memory.n_ctx == DEFAULT_CONTEXT_LENGTH


def test_mapped_weights_of_the_base_may_be_read_again_and_others_may_not():
    mapped, read = plan_on(machine(20), base=LARGE), plan_on(machine(20), base=LARGE, settings=NO_MMAP)
    assert mapped.verdict == "reads from disk" and not mapped.is_impossible
    assert "read from disk again for every token" in mapped.notes[-1]
    assert read.verdict == "does not fit" and read.is_impossible
    require_possible(mapped)
    with pytest.raises(PlanError, match=r"does not fit: the host is .* GiB short .*--no-memory-check tries to load it"):
        require_possible(read)


def test_weights_that_are_rearranged_cannot_be_read_again(monkeypatch):
    monkeypatch.setattr("edge_wsd.llama.repacking.repacked_types", lambda settings: {"Q4_K": Repacking()})
    assert plan_on(machine(20), base=LARGE).is_impossible


def test_the_check_can_be_switched_off():
    settings = ModelSettings(mmap=False, memory_check=False)
    require_possible(plan_pair(DRAFTER, LARGE, None, settings, machine(8)))


def test_a_pair_that_does_not_fit_names_the_type_that_would():
    plan = plan_on(machine(9))
    assert not plan.fits and plan.remedy.startswith("the base as ")
    name = plan.remedy.split()[3]
    assert plan_pair(DRAFTER, stored_as(BASE, name), None, None, machine(9)).fits
    larger = [other for other in RECIPES if stored_as(BASE, other).weights_bytes > stored_as(BASE, name).weights_bytes]
    smaller_than_now = [other for other in larger if stored_as(BASE, other).weights_bytes < BASE.weights_bytes]
    assert not any(
        plan_pair(DRAFTER, stored_as(BASE, other), None, None, machine(9)).fits for other in smaller_than_now
    )


def test_where_no_type_fits_it_is_said_by_how_much():
    assert "even Q2_K, the smallest type that needs no importance matrix, is " in plan_on(machine(8), base=LARGE).remedy


def test_a_measured_compute_buffer_takes_its_place_in_the_plan(tmp_path):
    drafter, base = (replace(shape, path=tmp_path / "model.gguf") for shape in (DRAFTER, BASE))
    asked = []

    def measure(path, settings):
        asked.append(settings.gpu_layers)
        return Simulated({"CUDA0": 2 * GIB}, 0)

    plan = plan_pair(drafter, base, None, None, machine(32, 16), measure=measure)
    assert asked[0] == ALL_OF_DRAFTER
    assert plan.drafter.memory.gpus[0].compute == plan.base.memory.gpus[0].compute == 2 * GIB
    assert plan.devices[1].used <= 16 * GIB - margin(plan.devices[1].device)
    assert not plan_pair(drafter, base, None, None, machine(32), measure=measure).notes and len(asked) == 2


def test_sizes_are_read_from_llama_cpps_log():
    lines = [
        "llama_kv_cache: size =    8.00 MiB (  4096 cells,   4 layers,  1/1 seqs), K (f16): 4.00 MiB",
        "sched_reserve:      CUDA0 compute buffer size =   254.50 MiB",
        "llama_context:  CUDA_Host  output buffer size =     7.83 MiB",
        "sched_reserve:  CUDA_Host compute buffer size =     8.25 MiB",
    ]
    mib = 1 << 20
    assert read_log(lines) == Simulated(
        {"CUDA0": 509 * mib // 2, "CUDA_Host": 33 * mib // 4}, 8 * mib, round(7.83 * mib)
    )


@pytest.mark.parametrize(
    ("gpu_layers", "free", "expected"),
    [
        (0, [8], (HOST,) * 5),
        (-1, [], (HOST,) * 5),
        (-1, [8], (0,) * 5),
        (1, [8], (HOST, HOST, HOST, HOST, 0)),
        (99, [8], (0,) * 5),
        (4, [8, 8], (HOST, 0, 0, 1, 1)),
        (4, [24, 8], (HOST, 0, 0, 0, 1)),
        (-1, [0, 0], (0, 0, 0, 1, 1)),
    ],
)
def test_layers_are_placed_from_the_last_in_shares_of_what_is_free(gpu_layers, free, expected):
    assert place(4, gpu_layers, free) == expected


def test_the_parts_of_a_placement_add_up_to_the_whole():
    settings = ModelSettings()
    for count in range(ALL_OF_BASE + 1):
        memory = placed_memory(BASE, settings, place(BASE.n_layers, count, [1, 1]), 2)
        assert memory.all.weights == BASE.weights_bytes
        assert memory.all.kv_cache == sum(layer_kv_bytes(BASE, "f16", 8192, layer) for layer in range(BASE.n_layers))


def test_a_tied_embedding_is_on_the_gpu_a_second_time():
    memory = placed_memory(DRAFTER, ModelSettings(), place(DRAFTER.n_layers, -1, [1]), 1)
    (embedding,) = DRAFTER.input_weights
    assert DRAFTER.is_tied and memory.all.weights == DRAFTER.weights_bytes + embedding.n_bytes


def test_on_the_host_a_tied_embedding_is_there_once_unless_the_output_is_rearranged():
    (embedding,) = DRAFTER.input_weights
    twice = DRAFTER.weights_bytes + embedding.n_bytes
    for repacked, weights in (({}, DRAFTER.weights_bytes), ({"Q8_0": Repacking()}, twice)):
        memory = placed_memory(DRAFTER, ModelSettings(), place(DRAFTER.n_layers, 0, []), repacked=repacked)
        assert memory.host.weights == weights


def test_mmap_changes_nothing_in_the_sum():
    mapped, read = (placed_memory(BASE, ModelSettings(mmap=on), place(32, 0, [])) for on in (True, False))
    assert mapped.host.total == read.host.total
    assert mapped.host.mapped == BASE.weights_bytes and read.host.mapped == 0


def test_the_published_shapes_have_the_published_numbers_of_parameters():
    millions = {name: round(known_shape(name, "BF16").n_params / 1e6) for name in KNOWN_MODELS}
    assert list(millions.values()) == [3213, 8030, 70554, 9242, 27227, 1544, 7616, 32764, 362, 1711]


def test_an_unknown_shape_or_type_is_an_error_that_helps():
    with pytest.raises(PlanError, match="pull it first"):
        known_shape("someone/else:Q4_K_M")
    with pytest.raises(PlanError, match="say which, such as google/gemma-2-9b:Q4_K_M"):
        known_shape("google/gemma-2-9b")
    with pytest.raises(PlanError, match="expected one of F32"):
        known_shape("google/gemma-2-9b:IQ1_S")


def test_strange_hyperparameters_refuse_no_file(tmp_path):
    model = TinyModel()
    model.metadata.update(
        {
            "llama.attention.sliding_window": string("wide"),
            "llama.expert_feed_forward_length": numbers(5, [1, 2, 3]),
            "llama.attention.head_count_kv": numbers(5, [2]),
        }
    )
    shape = shape_of_file(model.write(tmp_path / "model.gguf"))
    assert (shape.sliding_window, shape.n_heads_kv) == (0, (2, 0))


def test_layers_may_have_caches_of_different_widths(tmp_path):
    model = TinyModel(n_layers=3)
    model.metadata["llama.attention.head_count_kv"] = numbers(5, [4, 0, 1])
    shape = shape_of_file(model.write(tmp_path / "model.gguf"))
    assert [layer_kv_bytes(shape, "f16", 256, layer) for layer in range(3)] == [4 * 8 * 2 * 2 * 256, 0, 8 * 2 * 2 * 256]


def test_the_plan_is_json():
    told = json.loads(json.dumps(plan_on(machine(32, 8)).as_dict()))
    assert told["verdict"] == "fits" and told["models"]["base"]["gpu_layers"] > 0
    assert {device["name"] for device in told["devices"]} == {"CPU", "CUDA0"}
    sizes = told["models"]["base"]["bytes"]["CUDA0"]
    assert sizes["total"] == sum(size for name, size in sizes.items() if name not in ("total", "mapped"))


def test_free_memory_of_the_host_is_what_the_system_calls_available(tmp_path):
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 1000 kB\nMemFree: 10 kB\nMemAvailable: 700 kB\nSwapFree: 5 kB\n")
    found = host_memory(1, 2, meminfo, tmp_path / "none", tmp_path / "none")
    assert (found.available, found.total, found.swap) == (700 * 1024, 1000 * 1024, 5 * 1024)
    unknown = host_memory(1, 2, *[tmp_path / "none"] * 3)
    assert (unknown.available, unknown.total, unknown.swap) == (1, 2, 0)


def test_a_container_may_allow_less_than_the_machine_has(tmp_path):
    (tmp_path / "meminfo").write_text("MemTotal: 1000 kB\nMemAvailable: 700 kB\n")
    (tmp_path / "self").write_text("0::/box\n")
    box = tmp_path / "box"
    box.mkdir()
    for name, text in (("max", "409600"), ("current", "204800"), ("stat", "anon 5\ninactive_file 1024\n")):
        (box / f"memory.{name}").write_text(text)
    found = host_memory(1, 2, tmp_path / "meminfo", tmp_path, tmp_path / "self")
    assert (found.available, found.total) == (204800 + 1024, 409600)
    (box / "memory.max").write_text("max")
    assert host_memory(1, 2, tmp_path / "meminfo", tmp_path, tmp_path / "self").available == 700 * 1024


def test_of_groups_within_groups_the_narrowest_counts(tmp_path):
    (tmp_path / "meminfo").write_text("MemTotal: 1000 kB\nMemAvailable: 700 kB\n")
    (tmp_path / "self").write_text("0::/outer/middle/inner\n")
    limits = {"outer": 600_000, "outer/middle": 300_000, "outer/middle/inner": 500_000}
    for name, limit in limits.items():
        folder = tmp_path / name
        folder.mkdir()
        (folder / "memory.max").write_text(str(limit))
        (folder / "memory.current").write_text("100000")
    found = host_memory(1, 2, tmp_path / "meminfo", tmp_path, tmp_path / "self")
    assert (found.available, found.total) == (200_000, 300_000)


def test_where_no_other_type_is_small_enough_one_with_an_importance_matrix_is_named():
    remedies = [plan_on(machine(n_gib), base=LARGE, settings=NO_MMAP).remedy for n_gib in range(18, 34)]
    named = [remedy for remedy in remedies if "with an importance matrix" in remedy]
    assert named and all(re.match(r"the base as I?Q[123]\w+ \(about .* GiB, .*\) would fit", each) for each in named)
    assert any("as IQ1_" in each for each in named) and any("Q2_K (" in each for each in remedies)
    for each in remedies:  # types that answer badly were advised like any other
        poor = re.match(r"the base as (IQ[12]_\w+|Q2_\w+) \(", each)
        assert bool(poor) == ("bits per weight" in each), each
    assert all("loses most" in each for each in named if "as IQ1_" in each)
