// llama.cpp's grammar sampler, called by the addresses of its functions.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace edge_wsd {

// As in llama.h.
struct TokenData {
    std::int32_t id;
    float logit;
    float p;
};
struct TokenDataArray {
    TokenData* data;
    std::size_t size;
    std::int64_t selected;
    bool sorted;
};
using ApplySampler = void (*)(void* sampler, TokenDataArray* candidates);
using AcceptToken = void (*)(void* sampler, std::int32_t token);

// The grammar allows no token, or not the one that was accepted.
struct GrammarStuck : std::runtime_error {
    using std::runtime_error::runtime_error;
};

class Grammar {
public:
    Grammar(ApplySampler apply, AcceptToken accept, void* sampler) : apply_(apply), accept_(accept), sampler_(sampler) {}

    bool allows(std::int32_t token) const {
        TokenData one{token, 1.0f, 0.0f};
        TokenDataArray candidates{&one, 1, -1, false};
        apply_(sampler_, &candidates);
        return one.logit == 1.0f;
    }

    // Sets what is not allowed to -inf.
    void restrict(std::vector<float>& row) {
        entries_.resize(row.size());
        for (std::size_t i = 0; i < row.size(); ++i) entries_[i] = {static_cast<std::int32_t>(i), row[i], 0.0f};
        TokenDataArray candidates{entries_.data(), entries_.size(), -1, false};
        apply_(sampler_, &candidates);
        for (std::size_t i = 0; i < row.size(); ++i) row[i] = entries_[i].logit;
    }

    // llama.cpp ends the process on a token that is not allowed, so it is asked first.
    void accept(std::int32_t token) {
        if (!allows(token)) throw GrammarStuck("the grammar does not allow token " + std::to_string(token) + " here");
        accept_(sampler_, token);
    }

private:
    ApplySampler apply_;
    AcceptToken accept_;
    void* sampler_;
    std::vector<TokenData> entries_;
};

}  // namespace edge_wsd
