"""Bad model files: each gives one clear line, and none of them may take the process along."""

import io
import json
import os
import random
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_wsd import Pair
from edge_wsd.errors import ModelFileError
from edge_wsd.models.gguf import header as gguf_file
from edge_wsd.models.gguf.check import check_gguf
from edge_wsd.models.gguf.header import read_header
from edge_wsd.models.gguf.types import TENSOR_TYPES
from edge_wsd.models.probe.trial import probe_command
from edge_wsd.models.summary import summarize
from tests.other_architectures import mixture, renamed
from tests.tiny_models import (
    BYTE,
    F32,
    I32,
    NORMAL,
    TENSOR_F16,
    Tensor,
    TinyModel,
    Value,
    boolean,
    byte_level_vocabulary,
    f32,
    i32,
    numbers,
    sentencepiece_tokenizer,
    string,
    strings,
    u32,
)

N_TOKENS = len(TinyModel().tokens)


def refusal(path: Path) -> str:
    with pytest.raises(ModelFileError) as caught:
        check_gguf(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    assert ";" in message  # what is wrong; what to do
    return message


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"\0" * 4096, "only zero bytes"),
        (b"Once upon a time\n" * 9, "text file"),
        ("zażółć ".encode() * 999, "text file"),
        (b"a" + "é".encode() * 999, "text file"),  # the first kilobyte ends inside a character
        (b"\n <!DOCTYPE html><html><body>404</body></html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (struct.pack("<Q", 2) + b"{}" + bytes(99), "safetensors"),
        (b"\x80\x02}q\x01." + bytes(range(99)), "PyTorch"),
        (b"PK\x03\x04" + bytes(range(99)), "PyTorch"),
        (b"\x1f\x8b\x08" + bytes(range(99)), "compressed"),
        (b"lmgg" + bytes(99), "before GGUF"),
        (b"\x7fELF\x02\x01\x01" + bytes(99), "begins with"),
        (b"GGU", "text file"),
    ],
)
def test_a_file_of_another_kind_is_named_as_what_it_seems_to_be(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    assert reason in refusal(path)
    assert "is not a GGUF file" in refusal(path)


def test_a_missing_file_a_directory_and_an_impossible_name_are_refused(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "none.gguf")
    assert "is a directory" in refusal(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert "edge-wsd convert" in refusal(tmp_path)
    TinyModel().write(tmp_path / "inside.gguf")
    assert "such as inside.gguf" in refusal(tmp_path)
    with pytest.raises(ModelFileError, match=r"not a file name|no such file"):
        check_gguf("a\0b")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.gguf")
    assert "not a regular file" in refusal(tmp_path / "pipe.gguf")


def test_a_header_of_37_bytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "short.gguf"
    path.write_bytes((b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + bytes(13))[:37])
    assert "claims 1 metadata values" in refusal(path)


def test_a_pre_tokenizer_that_ends_the_process_at_two_spaces_is_refused(tmp_path: Path) -> None:
    """It passed, and the first text with two spaces in it ended in GGML_ASSERT."""
    model = TinyModel()
    model.metadata["tokenizer.ggml.pre"] = string("whitespace")
    assert "tokenizer.ggml.pre is 'whitespace'" in refusal(model.write(tmp_path / "model.gguf"))


def boundaries(model: TinyModel) -> list[int]:
    """Lengths at which a field of the file ends, and one byte to either side."""
    raw, ends = model.to_bytes(), {4, 8, 16, 24, len(model.header())}
    names = [*model.metadata, *(tensor.name for tensor in model.tensors)]
    for name in names:
        start = raw.index(struct.pack("<Q", len(name)) + name.encode())
        ends |= {start, start + 8, start + 8 + len(name), start + 12 + len(name), start + 20 + len(name)}
    ends |= set(range(len(model.header()), len(raw), 9001)) | {len(raw)}
    return sorted({near for end in ends for near in (end - 1, end, end + 1) if 0 < near < len(raw) - 32})


def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    model, path = TinyModel(), tmp_path / "cut.gguf"
    raw = model.to_bytes()
    lengths = boundaries(model)
    assert len(lengths) > 200
    for length in lengths:
        path.write_bytes(raw[:length])
        refusal(path)


def setter(**values: Value | None) -> Callable[[TinyModel], None]:
    """Sets metadata: `__` stands for a dot, None removes."""

    def change(model: TinyModel) -> None:
        for name, value in values.items():
            key = name.replace("__", ".")
            if value is None:
                del model.metadata[key]
            else:
                model.metadata[key] = value

    return change


def tensor(which: str, /, **changes: object) -> Callable[[TinyModel], None]:
    def change(model: TinyModel) -> None:
        changed = model.tensor(which)
        for key, value in changes.items():
            setattr(changed, key, value)

    return change


def without(name: str) -> Callable[[TinyModel], None]:
    return lambda model: model.tensors.remove(model.tensor(name))


def doubled(model: TinyModel) -> None:
    model.tensors.append(model.tensor("output.weight"))


def nul_twin(model: TinyModel) -> None:
    """llama.cpp reads texts up to the first NUL, where two of these tokens become the same."""
    tokens = list(model.tokens)
    tokens[-1] = tokens[-2] + "\0x"
    model.metadata["tokenizer.ggml.tokens"] = strings(tokens)


DEFECTS: dict[str, tuple[Callable[[TinyModel], None], str]] = {
    "no architecture": (setter(general__architecture=None), "general.architecture is missing"),
    "architecture is a number": (setter(general__architecture=u32(3)), "must be a string"),
    "image encoder": (setter(general__architecture=string("clip")), "image encoder"),
    "adapter": (setter(general__type=string("adapter")), "LoRA adapter"),
    "control vector": (setter(general__architecture=string("controlvector")), "it is a control vector"),
    "importance matrix": (setter(general__type=string("imatrix")), "it is an importance matrix"),
    "projector": (setter(general__type=string("mmproj")), "it is an image projector"),
    "no tokenizer": (setter(tokenizer__ggml__model=None), "no tokenizer"),
    "tokenizer none": (setter(tokenizer__ggml__model=string("none")), "no tokenizer"),
    "tokenizer unknown": (setter(tokenizer__ggml__model=string("gpt9")), "'gpt9' is unknown"),
    "no tokens": (setter(tokenizer__ggml__tokens=None), "tokens is missing"),
    "empty tokens": (setter(tokenizer__ggml__tokens=strings([])), "tokens is missing or empty"),
    "tokens are numbers": (setter(tokenizer__ggml__tokens=numbers(I32, [1])), "must be an array of string"),
    "tokens are a string": (setter(tokenizer__ggml__tokens=string("a")), "not a string"),
    "tokens twice": (setter(tokenizer__ggml__tokens=strings(["a", "b", "a"])), "tokens 0 and 2 are the same"),
    "tokens twice behind NUL": (nul_twin, "are the same text"),
    "no merges": (setter(tokenizer__ggml__merges=None), "merges is missing"),
    "merge without a space": (setter(tokenizer__ggml__merges=strings(["ab"])), "merge 0 is 'ab'"),
    "merge of nothing": (setter(tokenizer__ggml__merges=strings(["a "])), "merge 0 is 'a '"),
    "merge of two spaces": (setter(tokenizer__ggml__merges=strings(["a b c", "ab"])), "merge 0 ('a b c') makes"),
    "merge that begins with a space": (setter(tokenizer__ggml__merges=strings([" ab"])), "merge 0 is ' ab'"),
    "merge with a NUL": (setter(tokenizer__ggml__merges=strings(["t h", "h\0 e"])), "holds a NUL byte"),
    "merge into no token": (setter(tokenizer__ggml__merges=strings(["q z"])), "is no token"),
    "types too few": (setter(tokenizer__ggml__token_type=numbers(I32, [1])), f"1 elements for {N_TOKENS} tokens"),
    "types as floats": (setter(tokenizer__ggml__token_type=numbers(F32, [1.0])), "must be an array of int32"),
    "types unknown": (setter(tokenizer__ggml__token_type=numbers(I32, [9] * N_TOKENS)), "unknown types"),
    "byte without a byte": (setter(tokenizer__ggml__token_type=numbers(I32, [BYTE] * N_TOKENS)), "marked as a byte"),
    "scores too few": (setter(tokenizer__ggml__scores=numbers(F32, [0.0])), "scores has 1 elements"),
    "scores not finite": (setter(tokenizer__ggml__scores=numbers(F32, [float("nan")] * N_TOKENS)), "not finite"),
    "bos out of range": (setter(tokenizer__ggml__bos_token_id=u32(N_TOKENS)), f"only {N_TOKENS} tokens"),
    "eos far out of range": (setter(tokenizer__ggml__eos_token_id=u32(2**32 - 1)), "eos_token_id is 4294967295"),
    "bos added and unknown": (setter(tokenizer__ggml__bos_token_id=None), "there is no bos_token_id"),
    "template is a flag": (setter(tokenizer__chat_template=boolean(True)), "must be a string, not a bool"),
    "no context": (setter(llama__context_length=None), "context_length is missing"),
    "context of nothing": (setter(llama__context_length=u32(0)), "context_length is 0"),
    "layers as int": (setter(llama__block_count=i32(2)), "must be a uint32, not a int32"),
    "no layers": (setter(llama__block_count=u32(0)), "block_count is 0"),
    "too many layers": (setter(llama__block_count=u32(513)), "block_count is 513"),
    "one layer more": (setter(llama__block_count=u32(3)), "blk.2.attn_norm.weight is missing"),
    "no heads": (setter(llama__attention__head_count=u32(0)), "0 attention heads"),
    "no key-value heads": (setter(llama__attention__head_count_kv=u32(0)), "0 key-value heads"),
    "heads that do not divide": (setter(llama__attention__head_count_kv=u32(3)), "3 key-value heads"),
    "heads per layer too few": (setter(llama__attention__head_count=numbers(I32, [4])), "1 elements for 2 layers"),
    "no width": (setter(llama__embedding_length=u32(0)), "embedding_length is 0"),
    "another width": (setter(llama__embedding_length=u32(64)), "expected three times the same"),
    "rotation of another width": (setter(llama__rope__dimension_count=u32(4)), "expected three times the same"),
    "another inner width": (setter(llama__feed_forward_length=u32(65)), "hyperparameters say [32, 65]"),
    "no inner width": (setter(llama__feed_forward_length=None), "feed_forward_length is missing"),
    "norm without epsilon": (setter(llama__attention__layer_norm_rms_epsilon=None), "epsilon is None"),
    "epsilon not a number": (setter(llama__attention__layer_norm_rms_epsilon=f32(float("nan"))), "nan"),
    "rope base of nothing": (setter(llama__rope__freq_base=f32(0.0)), "freq_base is 0.0"),
    "rope scaling unknown": (setter(llama__rope__scaling__type=string("twist")), "'twist'"),
    "experts nobody uses": (setter(llama__expert_count=u32(4)), "do not fit together"),
    "experts used, none there": (setter(llama__expert_used_count=u32(1)), "do not fit together"),
    "too many predicted layers": (setter(llama__nextn_predict_layers=u32(9)), "nextn_predict_layers is 9"),
    "alignment of 33": (setter(general__alignment=u32(33)), "expected a power of two"),
    "alignment of 16": (setter(general__alignment=u32(16)), "expected a power of two from 32"),
    "alignment of 0": (setter(general__alignment=u32(0)), "expected a power of two"),
    "alignment beyond the file": (setter(general__alignment=u32(1 << 30)), "to the size of the file"),
    "alignment as a string": (setter(general__alignment=string("32")), "must be a uint32"),
    "tensor missing": (without("blk.1.attn_k.weight"), "blk.1.attn_k.weight is missing"),
    "norm missing": (without("output_norm.weight"), "output_norm.weight is missing"),
    "tensor twice": (doubled, "output.weight is there twice"),
    "tensor turned": (tensor("blk.0.ffn_down.weight", shape=(32, 64)), "has the shape [32, 64]"),
    "vocabulary of another size": (tensor("token_embd.weight", shape=(32, 7)), "has the shape [32, 7]"),
    "tensor type unknown": (tensor("output.weight", type=99), "has the type 99"),
    "tensor type removed": (tensor("output.weight", type=4), "has the type 4"),
    "tensor of integers": (tensor("output.weight", type=26), "not a type for weights"),
    "norm of halves": (tensor("output_norm.weight", type=TENSOR_F16, data=bytes(64)), "vector of type F16"),
    "norm of halves that calls itself a matrix": (
        tensor("output_norm.weight", type=TENSOR_F16, shape=(32, 1), data=bytes(64)),
        "vector of type F16",
    ),
    "rows that fill no block": (tensor("output.weight", type=12), "Q4_K needs multiples of 256"),
    "tensor without dimensions": (tensor("output.weight", shape=()), "0 dimensions"),
    "tensor of five dimensions": (tensor("output.weight", shape=(1, 1, 1, 1, 1), data=bytes(4)), "5 dimensions"),
    "tensor with an empty side": (tensor("output.weight", shape=(32, 0)), "is empty"),
    "shape that wraps around": (tensor("output.weight", shape=(2**62, 2**62), data=b""), "larger than the file"),
    "tensors that overlap": (tensor("output_norm.weight", offset=32), "overlaps the one before"),
    "tensor behind a gap": (tensor("output_norm.weight", offset=1 << 40), "leaves a gap"),
    "offset off the alignment": (tensor("output.weight", offset=39809), "expected 39808"),
    "name too long": (tensor("output.weight", name="n" * 64), "name of 64 bytes"),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_model_with_one_defect_is_refused_for_it(tmp_path: Path, defect: str) -> None:
    change, reason = DEFECTS[defect]
    model = TinyModel()
    change(model)
    assert reason in refusal(model.write(tmp_path / "broken.gguf"))


@pytest.mark.parametrize("architecture", ["llama", "deci", "exaone", "minicpm", "nobody-knows"])
@pytest.mark.parametrize(
    ("name", "type_", "reason"),
    [
        ("output.weight", "I64", "has the type I64, which is not a type for weights"),
        ("token_embd.weight", "F64", "has the type F64, which is not a type for weights"),
        ("blk.0.attn_output.weight", "I32", "has the type I32, which is not a type for weights"),
        ("blk.1.ffn_up.weight", "Q8_1", "has the type Q8_1, which is not a type for weights"),
        ("blk.0.ffn_norm.weight", "BF16", "is a vector of type BF16, expected F32"),
        ("output_norm.weight", "Q8_0", "is a vector of type Q8_0, expected F32"),
    ],
)
def test_types_that_llama_cpp_cannot_compute_with_are_refused_for_every_architecture(
    tmp_path: Path, architecture: str, name: str, type_: str, reason: str
) -> None:
    # types were checked for Llama-like models alone; others ended the process in their first pass
    model = renamed(TinyModel(), architecture)
    swapped, number = model.tensor(name), next(number for number, kind in TENSOR_TYPES.items() if kind.name == type_)
    kind = TENSOR_TYPES[number]
    swapped.type, swapped.data = number, bytes(swapped.n_elements // kind.block * kind.block_bytes)
    assert reason in refusal(model.write(tmp_path / "model.gguf"))


def test_word_pieces_have_no_bytes(tmp_path: Path) -> None:
    """llama.cpp ended the process when it was asked for the text of one."""
    model = TinyModel(metadata={**sentencepiece_tokenizer(), "tokenizer.ggml.model": string("bert")})
    assert "token 3 is marked as a byte, and tokenizer 'bert' has none" in refusal(model.write(tmp_path / "m.gguf"))


def test_values_of_other_kinds_are_left_out_of_what_is_told(tmp_path: Path) -> None:
    """The merges that a SentencePiece vocabulary does not need were counted, whatever they were: a TypeError."""
    model = TinyModel(metadata={**sentencepiece_tokenizer(), "tokenizer.ggml.merges": u32(7)})
    model.metadata |= {"general.name": numbers(I32, [1, 2]), "general.license": boolean(True)}
    facts = summarize(model.write(tmp_path / "model.gguf"))
    assert facts["name"] is None and facts["licence"] is None and facts["memory"]["vocabulary_bytes"] > 0
    json.dumps(facts)


def test_tables_of_whole_numbers_are_no_matrices(tmp_path: Path) -> None:
    model = renamed(TinyModel(), "deepseek4")
    model.tensors.append(Tensor("blk.0.ffn_gate_tid2eid.weight", (4, 311), type=26, data=bytes(4 * 4 * 311)))
    check_gguf(model.write(tmp_path / "model.gguf"))


@pytest.mark.parametrize("type_", [TENSOR_F16, 30], ids=["F16", "BF16"])
def test_a_matrix_of_one_row_may_have_any_type(tmp_path: Path, type_: int) -> None:
    """Published files of mixtures with a shared expert were refused: llama.cpp's tools write its gate as a vector."""
    path = mixture(type_).write(tmp_path / "model.gguf")
    check_gguf(path)
    with Pair.load(path, path) as pair:
        assert pair.generate("hello", max_tokens=4).tokens


def test_as_many_experts_as_llama_cpp_takes_are_taken(tmp_path: Path) -> None:
    """Its largest known mixture has more than the 512 that were allowed."""
    model = renamed(TinyModel(), "kimi-k3")
    model.metadata |= {"kimi-k3.expert_count": u32(1024), "kimi-k3.expert_used_count": u32(16)}
    check_gguf(model.write(tmp_path / "model.gguf"))
    model.metadata["kimi-k3.expert_count"] = u32(1025)
    assert "do not fit together" in refusal(model.write(tmp_path / "model.gguf"))


def test_a_vocabulary_without_a_token_for_each_byte_is_refused(tmp_path: Path) -> None:
    tokens = [text if text != "<0x80>" else "other" for text in ["<unk>", "<s>", "</s>"]]
    tokens += [f"<0x{byte:02X}>" if byte != 0x80 else "other" for byte in range(256)]
    metadata = sentencepiece_tokenizer() | {
        "tokenizer.ggml.tokens": strings(tokens),
        "tokenizer.ggml.token_type": numbers(I32, [NORMAL] * len(tokens)),
        "tokenizer.ggml.scores": numbers(F32, [0.0] * len(tokens)),
    }
    assert "no token <0x80>" in refusal(TinyModel(metadata=metadata).write(tmp_path / "bytes.gguf"))


def patched(offset: int, raw: bytes) -> bytes:
    whole = bytearray(TinyModel().to_bytes())
    whole[offset : offset + len(raw)] = raw
    return bytes(whole)


def place_of(text: str) -> int:
    """Where the length of the first string `text` lies."""
    return TinyModel().to_bytes().index(struct.pack("<Q", len(text)) + text.encode())


HUGE = [2**31, 2**32, 2**40, 2**61, 2**63 - 1, 2**63, 2**64 - 8, 2**64 - 1]


@pytest.mark.parametrize("count", HUGE)
def test_counts_and_lengths_that_wrap_around_are_refused_and_no_memory_is_taken(tmp_path: Path, count: int) -> None:
    path, big = tmp_path / "huge.gguf", struct.pack("<Q", count)
    key = place_of("tokenizer.ggml.tokens")
    array_length = key + 8 + len("tokenizer.ggml.tokens") + 4 + 4
    for offset, reason in (
        (8, "tensors"),
        (16, "metadata values"),
        (key, "claims"),
        (place_of("llama"), "claims"),
        (array_length, "claims"),
        (array_length + 8, "needs"),
        (place_of("token_embd.weight"), "claims"),
        (place_of("token_embd.weight") + 8 + len("token_embd.weight") + 4, "larger than the file"),
    ):
        path.write_bytes(patched(offset, big))
        assert reason in refusal(path), offset


@pytest.mark.parametrize(
    ("offset", "raw", "reason"),
    [
        (4, struct.pack("<I", 1), "version 1 is not supported"),
        (4, struct.pack("<I", 4), "version 4 is not supported"),
        (4, struct.pack(">I", 3), "big-endian"),
        (place_of("general.name") + 8, b"\xff", "not valid UTF-8"),
        (place_of("general.name") + 8 + 12, struct.pack("<I", 13), "unknown type 13"),
        (place_of("tokenizer.ggml.tokens") + 8 + 21 + 4, struct.pack("<I", 9), "array of arrays"),
        (place_of("hello") + 8, b"\xc3\x28", "element 2"),
        (place_of("general.architecture"), struct.pack("<Q", 0), "has no name"),
    ],
)
def test_a_patched_header_is_refused(tmp_path: Path, offset: int, raw: bytes, reason: str) -> None:
    path = tmp_path / "patched.gguf"
    path.write_bytes(patched(offset, raw))
    assert reason in refusal(path)


def test_the_same_key_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "twice.gguf"
    path.write_bytes(patched(place_of("llama.rope.freq_base") + 8, b"llama.rope.freq_ba5e"))
    check_gguf(path)  # a key nobody reads does no harm
    model = TinyModel()
    model.metadata["general.nama"] = string("x")
    raw = model.to_bytes().replace(b"general.nama", b"general.name")
    path.write_bytes(raw)
    assert "general.name is there twice" in refusal(path)


class Shrinking(io.BytesIO):
    """A file that was longer when its size was asked for."""

    def seek(self, offset: int, whence: int = 0) -> int:
        return super().seek(offset, whence) + (200_000 if whence else 0)


def test_a_file_that_shrinks_while_it_is_read_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = TinyModel().header()[:-100]
    monkeypatch.setattr(gguf_file, "open_regular", lambda path: Shrinking(raw))
    with pytest.raises(ModelFileError, match="became shorter meanwhile"):
        read_header("model.gguf")


def load_in_child(paths: list[Path]) -> dict[str, bool | None]:
    """Whether llama.cpp loads each file; None for one that killed the child."""
    verdicts: dict[str, bool | None] = {}
    waiting = [str(path) for path in paths]
    while waiting:
        environment = {**os.environ, "GGML_NO_BACKTRACE": "1"}
        child = subprocess.run(
            [*probe_command(), *(json.dumps({"path": path, "settings": None}) for path in waiting)],
            capture_output=True,
            env=environment,
            timeout=120,
            check=False,
        )
        reports = [json.loads(line) for line in child.stdout.splitlines()]
        ended = {report["end"]: report["loads"] for report in reports if "end" in report}
        verdicts |= ended
        waiting = waiting[len(ended) :]
        if child.returncode:
            assert waiting, child.stderr.decode(errors="replace")
            verdicts[waiting.pop(0)] = None
    return verdicts


def flipped(raw: bytes, header: int, source: random.Random) -> bytes:
    """One bit of the header turned, or four bytes of it replaced by a number that often breaks something."""
    broken = bytearray(raw)
    if source.random() < 0.7:
        broken[source.randrange(24, header)] ^= 1 << source.randrange(8)
    else:
        place = source.randrange(24, header - 4)
        broken[place : place + 4] = struct.pack("<I", source.choice([0, 1, 3, 33, 512, 65536, 2**31, 2**32 - 1]))
    return bytes(broken)


@pytest.mark.slow
@pytest.mark.parametrize("metadata", [{}, sentencepiece_tokenizer()], ids=["byte pairs", "sentencepiece"])
def test_what_passes_the_check_never_kills_llama_cpp(tmp_path: Path, metadata: dict[str, Value]) -> None:
    """A flipped bit in a token's text once made two tokens the same, on which llama.cpp 0.3.36 aborts."""
    model, source = TinyModel(metadata=metadata), random.Random(20)
    raw, header, passed = model.to_bytes(), len(model.header()), []
    for number in range(600):
        path = tmp_path / f"{number}.gguf"
        path.write_bytes(flipped(raw, header, source))
        try:
            check_gguf(path)
        except ModelFileError as error:
            assert "\n" not in str(error)
            path.unlink()
        else:
            passed.append(path)
    assert 20 < len(passed) < 500
    verdicts = load_in_child(passed)
    assert len(verdicts) == len(passed)
    killers = [path for path, loads in verdicts.items() if loads is None]
    assert killers == []
    assert sum(loads is True for loads in verdicts.values()) > len(passed) // 2


@pytest.mark.slow
def test_the_checks_are_needed_llama_cpp_dies_of_what_they_refuse(tmp_path: Path) -> None:
    """If this fails, llama.cpp has become more careful, and the named checks may go."""
    paths = []
    for defect in ("tokens twice", "tokens twice behind NUL", "no layers", "too many layers", "experts nobody uses"):
        model = TinyModel()
        DEFECTS[defect][0](model)
        paths.append(model.write(tmp_path / f"{defect}.gguf"))
    assert set(load_in_child(paths).values()) == {None}


def test_the_tiny_model_is_whole(tmp_path: Path) -> None:
    tokens, merges = byte_level_vocabulary()
    assert len(set(tokens)) == len(tokens) and len(tokens) == 256 + len(merges)
    assert load_in_child([TinyModel().write(tmp_path / "tiny.gguf")]) == {str(tmp_path / "tiny.gguf"): True}
