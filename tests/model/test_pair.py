"""Pairs of tiny random models: loading, closing, and what must not harm them."""

import _thread
import os
import shutil
import threading

import pytest

from edge_wsd import Finished, ModelSettings, Options, Pair
from edge_wsd.errors import (
    ClosedError,
    ModelFileError,
    ModelLoadError,
    TemplateError,
)
from edge_wsd.llama.context import Context
from tests.devices import ON_GPU
from tests.fake_contexts import fail
from tests.model.conftest import SETTINGS
from tests.tiny_models import TinyModel, boolean

OPTIONS = Options(max_tokens=12, threshold=0.0, window=3, chunk=4)


def test_a_pair_with_two_vocabularies_works_through_text(files):
    with Pair.load(files["other"], files["base"], drafter_settings=SETTINGS, base_settings=SETTINGS) as pair:
        assert pair.vocabulary.verdict == "different" and "token" in pair.vocabulary.reason
        texts = {
            pair.generate("hello", OPTIONS, chunk=chunk, speculation=speculation, max_tokens=30).text
            for chunk in (1, 4, 16)
            for speculation in (True, False)
        }
        assert len(texts) == 1 and texts.pop()


def test_a_drafter_without_a_template_is_an_error_that_names_the_way_out(files):
    with pytest.raises(TemplateError, match="--drafter-template plain"):
        Pair.load(files["base"], files["base"], drafter_settings=SETTINGS, base_settings=SETTINGS)


def test_a_model_whose_vocabulary_is_not_read_to_the_end_is_freed(files, monkeypatch):
    from edge_wsd.llama import model as model_module

    handles = []
    monkeypatch.setattr(model_module, "Vocab", lambda handle, path: handles.append(handle) or fail(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        model_module.Model.load(files["base"], SETTINGS)
    assert [handle.is_open for handle in handles] == [False]


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_when_something_happens_between_loading_and_the_pair_both_models_are_freed(files, monkeypatch, error):
    """Two vocabularies are compared meanwhile, which may take a while: after Ctrl-C there nobody freed the models."""
    contexts, make = [], Context.__init__

    def made(context, *arguments, **keywords):
        make(context, *arguments, **keywords)
        contexts.append(context)

    monkeypatch.setattr(Context, "__init__", made)
    monkeypatch.setattr("edge_wsd.loaded_pair.compare_vocabularies", lambda *_: fail(error()))
    with pytest.raises(error):
        Pair.load(files["drafter"], files["base"], drafter_settings=SETTINGS, base_settings=SETTINGS)
    assert len(contexts) == 2 if not ON_GPU else len(contexts) > 2  # others measure what a GPU needs
    for context in contexts:
        assert not context.is_open and not context.model._handle.is_open


def test_when_the_second_model_fails_to_load_the_first_is_freed(files, tmp_path, monkeypatch):
    from edge_wsd.llama.model import Model

    open_models = []
    load, close = Model.load, Model.close

    def counting_load(*arguments, **keywords):
        model = load(*arguments, **keywords)
        open_models.append(model)
        return model

    def counting_close(model):
        if model in open_models:
            open_models.remove(model)
        close(model)

    monkeypatch.setattr(Model, "load", counting_load)
    monkeypatch.setattr(Model, "close", counting_close)
    impossible = ModelSettings(kv_type="q4_0", flash_attention="off")  # llama.cpp refuses the combination
    with pytest.raises(ModelLoadError, match=r"base\.gguf: no context of .* try a smaller"):
        Pair.load(files["drafter"], files["base"], drafter_settings=SETTINGS, base_settings=impossible)
    assert open_models == []
    with Pair.load(files["drafter"], files["base"], drafter_settings=SETTINGS, base_settings=SETTINGS):
        assert len(open_models) == 2
    assert open_models == []


@pytest.mark.parametrize("role", ["drafter", "base"])
def test_a_missing_file_is_named(files, tmp_path, role):
    paths = {"drafter": files["drafter"], "base": files["base"], role: tmp_path / "missing.gguf"}
    with pytest.raises(ModelFileError, match=r"missing\.gguf"):
        Pair.load(**paths)


def test_an_error_behind_a_decode_leaves_a_true_ledger(pair, monkeypatch):
    """The ledger once missed tokens that were in memory, and later replies were silently wrong."""
    import llama_cpp

    decode, expected = llama_cpp.llama_decode, pair.generate("hello there", OPTIONS).text

    def broken(*arguments):
        decode(*arguments)
        raise MemoryError("not enough for the answer")

    for model in (pair.drafter, pair.base):
        model.context.wipe()
    with monkeypatch.context() as patch:
        patch.setattr(llama_cpp, "llama_decode", broken)
        with pytest.raises(MemoryError, match="not enough"):
            pair.generate("hello there", OPTIONS)
    reply = pair.generate("hello there", OPTIONS)
    assert reply.stats.drafter_reused_tokens > 0 and reply.text == expected


def test_an_interrupt_ends_the_reply_that_is_waited_for_and_nothing_else(pair, monkeypatch):
    session, run = pair.session(options=Options(max_tokens=300, threshold=1.0)), Context.run

    def interrupting(*arguments):
        monkeypatch.undo()
        _thread.interrupt_main()
        run(*arguments)

    monkeypatch.setattr(Context, "run", interrupting)
    with pytest.raises(KeyboardInterrupt):
        session.ask("hello")
    assert session.messages == ()
    session.options = OPTIONS
    assert session.ask("hello").text == pair.generate("hello", OPTIONS).text


def test_a_closed_pair_says_so_instead_of_ending_the_process(files):
    pair = Pair.load(files["drafter"], files["base"], drafter_settings=SETTINGS, base_settings=SETTINGS)
    session = pair.session(options=OPTIONS)
    sequence, stream = pair.base.context.sequence(), session.stream("hello")
    next(stream)
    pair.close()
    pair.close()
    *_, finished = stream
    assert finished.reply.finish_reason in ("cancelled", "length")  # the engine may have written all of it by then
    with pytest.raises(ClosedError, match="is closed; load it again"):
        session.ask("hello")
    with pytest.raises(ClosedError, match="is closed"):
        pair.base.model.vocab.tokenize("hello")
    with pytest.raises(ClosedError, match="is closed"):
        sequence.extend([1])


def test_closing_stops_a_reply_in_another_thread(files):
    pair = Pair.load(files["drafter"], files["base"], drafter_settings=SETTINGS, base_settings=SETTINGS)
    session = pair.session(options=Options(max_tokens=350, threshold=1.0))
    begun, events = threading.Event(), []

    def work():
        for event in session.stream("hello"):
            begun.set()
            events.append(event)

    thread = threading.Thread(target=work)
    thread.start()
    begun.wait()
    pair.close()
    thread.join()
    assert isinstance(events[-1], Finished) and events[-1].reply.finish_reason == "cancelled"


def test_a_given_beginning_may_be_longer_than_a_batch(files):
    small = ModelSettings(context_length=512, threads=1, batch=16)
    with Pair.load(files["drafter"], files["base"], drafter_settings=small, base_settings=small) as pair:
        messages = [
            {"role": "user", "content": "hello"},
            {"role": "assistant", "content": "the list of the files is in the list " * 4},
        ]
        options = Options(max_tokens=10, threshold=1.0)
        reply = pair.generate(messages, options)
        assert reply.tokens[0].source == "drafter" and len(reply.tokens) == 10
        assert pair.generate("hello", OPTIONS, chunk=16, temperature=1.0, seed=1).text
        assert pair.generate("hello", OPTIONS, window=40, max_tokens=60, max_draft=60).tokens


def test_a_template_that_renders_nothing_is_an_error(files, tmp_path):
    template = tmp_path / "empty.jinja"
    template.write_text("")
    tiny = TinyModel(seed=2)
    tiny.metadata["tokenizer.ggml.add_bos_token"] = boolean(False)
    path = tiny.write(tmp_path / "base.gguf")
    settings = {"drafter_settings": SETTINGS, "base_settings": SETTINGS}
    with (
        Pair.load(files["drafter"], path, base_template=str(template), **settings) as pair,
        pytest.raises(TemplateError, match="empty prompt"),
    ):
        pair.generate("hello", OPTIONS)


def test_a_model_file_may_have_any_name_the_system_allows(files, tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.gguf")
    shutil.copy(files["drafter"], path)
    with Pair.load(path, files["base"], drafter_settings=SETTINGS, base_settings=SETTINGS) as pair:
        assert pair.generate("hello", OPTIONS).text
