// The Python module edge_wsd._native: checks arguments, releases the GIL, translates errors.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <tuple>

#include "cancel_flag.hpp"
#include "logits.hpp"
#include "onward.hpp"
#include "sampler.hpp"
#include "text_array.hpp"
#include "vocabulary.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace edge_wsd {
namespace {

using Targets = nb::ndarray<const std::int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <class T>
using Column = nb::ndarray<nb::numpy, T, nb::ndim<1>>;

template <class T>
struct Owned {
    std::unique_ptr<T[]> values;
    std::size_t size;

    explicit Owned(std::size_t count) : values(new T[count]), size(count) {}

    Column<T> release() {
        T* data = values.release();
        nb::capsule owner(data, [](void* p) noexcept { delete[] static_cast<T*>(p); });
        return Column<T>(data, {size}, owner);
    }
};

const float* matrix_at(std::uintptr_t address, std::int64_t n_vocab) {
    if (n_vocab < 1 || n_vocab > std::numeric_limits<std::int32_t>::max())
        throw std::invalid_argument("n_vocab is " + std::to_string(n_vocab) + "; expected a positive 32-bit number");
    if (address == 0) throw std::invalid_argument("the address of the logits is null: ask for logits before reading them");
    if (address % alignof(float) != 0)
        throw std::invalid_argument("the address of the logits is not aligned to 4 bytes; expected a float32 buffer");
    return reinterpret_cast<const float*>(address);
}

void check_target(std::int64_t target, std::int64_t n_vocab, const std::string& name) {
    if (target < no_target || target >= n_vocab)
        throw std::invalid_argument(name + " is " + std::to_string(target) + "; expected -1 (none) or a token id below " +
                                    std::to_string(n_vocab));
}

std::tuple<double, std::int32_t, double> score_row(std::uintptr_t address, std::int64_t n_vocab, std::int64_t target) {
    const float* row = matrix_at(address, n_vocab);
    check_target(target, n_vocab, "target");
    RowScore result;
    {
        nb::gil_scoped_release unlocked;
        result = score(row, static_cast<std::size_t>(n_vocab), static_cast<std::int32_t>(target));
    }
    return {result.logprob, result.greedy, result.greedy_logprob};
}

using Scores = std::tuple<Column<double>, Column<std::int32_t>, Column<double>>;

Scores score_rows(std::uintptr_t address, std::int64_t n_rows, std::int64_t n_vocab, const Targets& targets) {
    if (n_rows < 0) throw std::invalid_argument("n_rows is " + std::to_string(n_rows) + "; expected 0 or more");
    const std::size_t rows = static_cast<std::size_t>(n_rows);
    if (targets.shape(0) != rows)
        throw std::invalid_argument("targets holds " + std::to_string(targets.shape(0)) + " ids; expected one for each of " +
                                    std::to_string(rows) + " rows");
    Owned<double> logprobs(rows);
    Owned<std::int32_t> greedy(rows);
    Owned<double> greedy_logprobs(rows);
    if (rows > 0) {
        const float* matrix = matrix_at(address, n_vocab);
        const std::int32_t* ids = targets.data();
        for (std::size_t i = 0; i < rows; ++i) check_target(ids[i], n_vocab, "targets[" + std::to_string(i) + "]");
        const std::size_t size = static_cast<std::size_t>(n_vocab);
        nb::gil_scoped_release unlocked;
        for (std::size_t i = 0; i < rows; ++i) {
            RowScore result;
            try {
                result = score(matrix + i * size, size, ids[i]);
            } catch (const BadLogits& bad) {
                throw BadLogits("row " + std::to_string(i) + " of " + std::to_string(rows) + ": " + bad.what());
            }
            logprobs.values[i] = result.logprob;
            greedy.values[i] = result.greedy;
            greedy_logprobs.values[i] = result.greedy_logprob;
        }
    }
    return {logprobs.release(), greedy.release(), greedy_logprobs.release()};
}

using LikelyTokens = std::vector<std::vector<std::pair<std::int32_t, double>>>;

LikelyTokens likeliest_of_rows(std::uintptr_t address, std::int64_t n_rows, std::int64_t n_vocab, std::int64_t n) {
    if (n_rows < 0) throw std::invalid_argument("n_rows is " + std::to_string(n_rows) + "; expected 0 or more");
    if (n < 0) throw std::invalid_argument("n is " + std::to_string(n) + "; expected 0 or more");
    LikelyTokens found(static_cast<std::size_t>(n_rows));
    if (n_rows == 0) return found;
    const float* matrix = matrix_at(address, n_vocab);
    const std::size_t size = static_cast<std::size_t>(n_vocab);
    nb::gil_scoped_release unlocked;
    for (std::size_t i = 0; i < found.size(); ++i)
        for (const Likely& each : likeliest(matrix + i * size, size, std::min(static_cast<std::size_t>(n), size)))
            found[i].emplace_back(each.token, each.logprob);
    return found;
}

std::tuple<std::int32_t, double> choose(Sampler& sampler, std::uintptr_t address, std::int64_t n_vocab) {
    const float* row = matrix_at(address, n_vocab);
    Choice choice;
    {
        nb::gil_scoped_release unlocked;
        choice = sampler.choose(row, static_cast<std::size_t>(n_vocab));
    }
    return {choice.token, choice.logprob};
}

template <class Function>
Function function_at(std::uintptr_t address) {
    if (address == 0) throw std::invalid_argument("the address of the function is null");
    return reinterpret_cast<Function>(address);
}

// Of llama_decode, llama_get_logits, llama_vocab_is_eog; a context, its model's vocabulary and the entries of that.
using DecoderParts =
    std::tuple<std::uintptr_t, std::uintptr_t, std::uintptr_t, std::uintptr_t, std::uintptr_t, std::int64_t>;
// Of a token to be read, the logarithm of its probability; its position and its sequence.
using TextParts = std::tuple<std::int32_t, double, std::int32_t, std::int32_t>;
using Steps = std::vector<std::pair<std::vector<std::int32_t>, std::vector<double>>>;

Decoder decoder_of(const DecoderParts& parts) {
    const auto [decode, get_logits, is_end, context, vocabulary, n_vocab] = parts;
    if (context == 0 || vocabulary == 0) throw std::invalid_argument("the address of the context or vocabulary is null");
    if (n_vocab < 1 || n_vocab > std::numeric_limits<std::int32_t>::max())
        throw std::invalid_argument("n_vocab is " + std::to_string(n_vocab) + "; expected a positive 32-bit number");
    return {function_at<decltype(Decoder::decode)>(decode), function_at<decltype(Decoder::get_logits)>(get_logits),
            function_at<decltype(Decoder::is_end)>(is_end), reinterpret_cast<void*>(context),
            reinterpret_cast<const void*>(vocabulary), static_cast<std::size_t>(n_vocab)};
}

std::pair<Steps, std::int32_t> go_on_from(const DecoderParts& parts, const std::vector<TextParts>& texts, std::int32_t most,
                                          std::vector<std::vector<std::int32_t>> stops, double least_logprob,
                                          const CancelFlag& enough) {
    const Decoder decoder = decoder_of(parts);
    if (stops.size() != texts.size())
        throw std::invalid_argument("stops holds " + std::to_string(stops.size()) + " lists; expected one for each of " +
                                    std::to_string(texts.size()) + " texts");
    std::vector<Text> begun;
    std::vector<double> logprobs;
    for (const auto& [token, logprob, position, sequence] : texts) {
        if (token < 0 || static_cast<std::size_t>(token) >= decoder.n_vocab)
            throw std::invalid_argument("token " + std::to_string(token) + " is outside the vocabulary");
        begun.push_back({token, position, sequence});
        logprobs.push_back(logprob);
    }
    Onward written;
    {
        nb::gil_scoped_release unlocked;
        written = go_on(decoder, std::move(begun), std::move(logprobs),
                        {most, std::move(stops), least_logprob, &enough});
    }
    Steps steps;
    for (Step& step : written.steps) steps.emplace_back(std::move(step.tokens), std::move(step.logprobs));
    return {std::move(steps), written.code};
}

std::vector<std::pair<std::string, std::size_t>> batch_layout() {
    return {{"n_tokens", offsetof(LlamaBatch, n_tokens)}, {"token", offsetof(LlamaBatch, token)},
            {"embd", offsetof(LlamaBatch, embd)},         {"pos", offsetof(LlamaBatch, pos)},
            {"n_seq_id", offsetof(LlamaBatch, n_seq_id)}, {"seq_id", offsetof(LlamaBatch, seq_id)},
            {"logits", offsetof(LlamaBatch, logits)}};
}

// Of llama_sampler_apply, llama_sampler_accept, a sampler, and the tokens by length; and the longest time in seconds.
using Rules = std::optional<std::tuple<std::uintptr_t, std::uintptr_t, std::uintptr_t, std::uintptr_t, double>>;

void make_sampler(Sampler* place, float temperature, std::int32_t top_k, float top_p, float min_p, std::uint64_t seed,
                  const Biases& biases, std::int32_t last_n, float repeat, float frequency, float presence,
                  const Rules& grammar) {
    if (!(temperature >= 0))
        throw std::invalid_argument("temperature is " + std::to_string(temperature) + "; expected 0 or more");
    for (const auto& bias : biases) {
        if (bias.first < 0) throw std::invalid_argument("a bias is for token " + std::to_string(bias.first));
        if (!(bias.second < std::numeric_limits<float>::infinity()))
            throw std::invalid_argument("a bias is " + std::to_string(bias.second) + "; expected a number or -inf");
    }
    if (!(repeat > 0)) throw std::invalid_argument("repeat_penalty is " + std::to_string(repeat) + "; expected above 0");
    std::optional<Grammar> rules;
    if (grammar) {
        const auto [apply, accept, sampler, by_length, longest_s] = *grammar;
        if (sampler == 0 || by_length == 0) throw std::invalid_argument("an address of the grammar is null");
        rules.emplace(function_at<ApplySampler>(apply), function_at<AcceptToken>(accept), reinterpret_cast<void*>(sampler),
                      reinterpret_cast<const std::int32_t*>(by_length), longest_s);
    }
    new (place) Sampler({temperature, top_k, top_p, min_p}, seed, biases, {last_n, repeat, frequency, presence},
                        std::move(rules));
}

const void* vocabulary_at(std::uintptr_t address) {
    if (address == 0) throw std::invalid_argument("the address of the vocabulary is null");
    return reinterpret_cast<const void*>(address);
}

template <class Function, class Ask>
nb::list ask_for_each(std::uintptr_t function, std::uintptr_t vocabulary, std::int32_t n_tokens, Ask ask) {
    const auto get = function_at<Function>(function);
    const void* vocab = vocabulary_at(vocabulary);
    nb::list answers;
    for (std::int32_t token = 0; token < n_tokens; ++token) {
        const std::string answer = ask(get, vocab, token);
        answers.append(nb::bytes(answer.data(), answer.size()));
    }
    return answers;
}

nb::list all_texts(std::uintptr_t get_text, std::uintptr_t vocabulary, std::int32_t n_tokens) {
    return ask_for_each<GetText>(get_text, vocabulary, n_tokens, text_of);
}

nb::list all_pieces(std::uintptr_t to_piece, std::uintptr_t vocabulary, std::int32_t n_tokens) {
    return ask_for_each<GetPiece>(to_piece, vocabulary, n_tokens, piece_of);
}

Column<std::int32_t> all_attributes(std::uintptr_t get_attributes, std::uintptr_t vocabulary, std::int32_t n_tokens) {
    const auto get = function_at<GetAttributes>(get_attributes);
    const void* vocab = vocabulary_at(vocabulary);
    Owned<std::int32_t> attributes(static_cast<std::size_t>(n_tokens > 0 ? n_tokens : 0));
    for (std::int32_t token = 0; token < n_tokens; ++token) attributes.values[token] = get(vocab, token);
    return attributes.release();
}

// Importing at raise time keeps this module loadable on its own.
void raise_error(const char* type, const std::exception& error) {
    try {
        nb::object made = nb::module_::import_("edge_wsd.errors").attr(type)(error.what());
        PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(made.ptr())), made.ptr());
    } catch (nb::python_error& failed) {
        failed.restore();
    }
}

void raise_in_python(const std::exception_ptr& exception, void*) {
    try {
        std::rethrow_exception(exception);
    } catch (const BadLogits& bad) {
        raise_error("LogitsError", bad);
    } catch (const GrammarStuck& stuck) {
        raise_error("GrammarError", stuck);
    }
}

}  // namespace
}  // namespace edge_wsd

NB_MODULE(_native, m) {
    using namespace edge_wsd;
    // A thread that is still at work when the process ends keeps its flag: no leak, and the library prints nothing.
    nb::set_leak_warnings(false);
    m.doc() = "Reads rows of logits where llama.cpp left them, chooses tokens, writes on greedily, reads whole vocabularies, cancels decodes.";
    nb::register_exception_translator(raise_in_python);

    m.def("score_row", &score_row, "address"_a, "n_vocab"_a, "target"_a = no_target);
    m.def("score_rows", &score_rows, "address"_a, "n_rows"_a, "n_vocab"_a, "targets"_a.noconvert());
    m.def("likeliest", &likeliest_of_rows, "address"_a, "n_rows"_a, "n_vocab"_a, "n"_a);
    m.def("all_texts", &all_texts, "get_text"_a, "vocabulary"_a, "n_tokens"_a);
    m.def("all_pieces", &all_pieces, "to_piece"_a, "vocabulary"_a, "n_tokens"_a);
    m.def("all_attributes", &all_attributes, "get_attributes"_a, "vocabulary"_a, "n_tokens"_a);
    m.def("split_texts", &split_texts, "window"_a, "at"_a, "count"_a, "most"_a);
    m.def("go_on", &go_on_from, "decoder"_a, "texts"_a, "most"_a, "stops"_a, "least_logprob"_a, "enough"_a);
    m.def("batch_layout", &batch_layout);
    m.def("isa", &current_isa);
    m.def("available_isas", &available_isas);
    m.def("force_isa", &force_isa, "name"_a);

    nb::class_<Sampler>(m, "Sampler")
        .def("__init__", &make_sampler, nb::kw_only(), "temperature"_a, "top_k"_a, "top_p"_a, "min_p"_a, "seed"_a,
             "biases"_a = Biases(), "repeat_last_n"_a = 0, "repeat_penalty"_a = 1.0f, "frequency_penalty"_a = 0.0f,
             "presence_penalty"_a = 0.0f,
             "grammar"_a = nb::none())
        .def("choose", &choose, "address"_a, "n_vocab"_a)
        .def("accept", &Sampler::accept, "token"_a, "ruled"_a = true);

    nb::class_<CancelFlag>(m, "CancelFlag")
        .def(nb::init<>())
        .def("set", &CancelFlag::set)
        .def("clear", &CancelFlag::clear)
        .def_prop_ro("is_set", &CancelFlag::is_set)
        .def_prop_ro("address", &CancelFlag::address)
        .def_prop_ro_static("callback", [](nb::handle) { return CancelFlag::callback(); });
}
