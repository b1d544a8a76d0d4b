// llama.cpp's grammar sampler, called by the addresses of its functions.
#pragma once

#include <algorithm>
#include <chrono>
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

// Where a text can be read in several ways, llama.cpp tries all of them for every token that the grammar refuses: their
// number grows with the length of the token. So the short ones come first, and the time is looked at in between.
class Grammar {
public:
    // `by_length` holds all tokens of the vocabulary, the shortest first, and outlives this.
    Grammar(ApplySampler apply, AcceptToken accept, void* sampler, const std::int32_t* by_length, double longest_s)
        : apply_(apply), accept_(accept), sampler_(sampler), by_length_(by_length), longest_s_(longest_s) {}

    bool allows(std::int32_t token) const {
        TokenData one{token, 1.0f, 0.0f};
        TokenDataArray candidates{&one, 1, -1, false};
        apply_(sampler_, &candidates);
        return one.logit == 1.0f;
    }

    // Sets what is not allowed to -inf.
    void restrict(std::vector<float>& row) {
        using Clock = std::chrono::steady_clock;
        const auto start = Clock::now();
        for (std::size_t from = 0; from < row.size(); from += slice) {
            const std::size_t size = std::min(slice, row.size() - from);
            entries_.resize(size);
            for (std::size_t i = 0; i < size; ++i) {
                const std::int32_t token = by_length_[from + i];
                entries_[i] = {token, row[token], 0.0f};
            }
            TokenDataArray candidates{entries_.data(), size, -1, false};
            apply_(sampler_, &candidates);
            for (const TokenData& entry : entries_) row[entry.id] = entry.logit;
            if (std::chrono::duration<double>(Clock::now() - start).count() > longest_s_)
                throw GrammarStuck("the grammar is too ambiguous: llama.cpp has too many ways to read the text so far");
        }
    }

    // llama.cpp ends the process on a token that is not allowed, so it is asked first.
    void accept(std::int32_t token) {
        if (!allows(token)) throw GrammarStuck("the grammar does not allow token " + std::to_string(token) + " here");
        accept_(sampler_, token);
    }

private:
    static constexpr std::size_t slice = 64;

    ApplySampler apply_;
    AcceptToken accept_;
    void* sampler_;
    const std::int32_t* by_length_;
    double longest_s_;
    std::vector<TokenData> entries_;
};

}  // namespace edge_wsd
