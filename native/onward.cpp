#include "onward.hpp"

#include <algorithm>

#include "logits.hpp"

namespace edge_wsd {
namespace {

// Texts as a batch with a row of logits behind each.
class Batch {
public:
    explicit Batch(std::size_t size)
        : tokens_(size), positions_(size), counts_(size, 1), ids_(size), lists_(size), logits_(size, 1) {
        for (std::size_t i = 0; i < size; ++i) lists_[i] = &ids_[i];
    }

    LlamaBatch of(const std::vector<Text>& texts) {
        for (std::size_t i = 0; i < texts.size(); ++i) {
            tokens_[i] = texts[i].token;
            positions_[i] = texts[i].position;
            ids_[i] = texts[i].sequence;
        }
        return {static_cast<std::int32_t>(texts.size()), tokens_.data(), nullptr, positions_.data(), counts_.data(),
                lists_.data(), logits_.data()};
    }

private:
    std::vector<std::int32_t> tokens_, positions_, counts_, ids_;
    std::vector<std::int32_t*> lists_;
    std::vector<std::int8_t> logits_;
};

bool any_has_ended(const Decoder& decoder, const std::vector<Text>& texts, const std::vector<double>& logprobs,
                   const Limits& limits) {
    for (std::size_t i = 0; i < texts.size(); ++i) {
        const auto& stops = limits.stops[i];
        if (logprobs[i] < limits.least_logprob || decoder.is_end(decoder.vocabulary, texts[i].token) ||
            std::find(stops.begin(), stops.end(), texts[i].token) != stops.end())
            return true;
    }
    return false;
}

}  // namespace

Onward go_on(const Decoder& decoder, std::vector<Text> texts, std::vector<double> logprobs, const Limits& limits) {
    Onward written;
    Batch batch(texts.size());
    for (std::int32_t step = 0; step < limits.most; ++step) {
        if (limits.enough->is_set() || any_has_ended(decoder, texts, logprobs, limits)) break;
        written.code = decoder.decode(decoder.context, batch.of(texts));
        if (written.code != 0) break;
        const float* rows = decoder.get_logits(decoder.context);
        if (rows == nullptr) throw BadLogits("llama.cpp kept none");
        Step next;
        for (std::size_t i = 0; i < texts.size(); ++i) {
            const RowScore chosen = score(rows + i * decoder.n_vocab, decoder.n_vocab, no_target);
            texts[i].token = chosen.greedy;
            ++texts[i].position;
            logprobs[i] = chosen.greedy_logprob;
            next.tokens.push_back(chosen.greedy);
            next.logprobs.push_back(chosen.greedy_logprob);
        }
        written.steps.push_back(std::move(next));
    }
    return written;
}

}  // namespace edge_wsd
