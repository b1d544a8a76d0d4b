// Chooses tokens from rows of logits as llama.cpp's chain does: biases, penalties, top-k, top-p, min-p, temperature, a
// seeded draw.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "grammar.hpp"
#include "logits.hpp"
#include "penalties.hpp"

namespace edge_wsd {

struct Sampling {
    float temperature;   // 0: the most probable token
    std::int32_t top_k;  // 0: all
    float top_p;         // 1: all
    float min_p;         // 0: all
};

struct Choice {
    std::int32_t token;
    double logprob;  // of the row as it is: at temperature 1, whatever was filtered
};

// One per reply and model. The n-th choice takes the n-th two random numbers of the seed: one for a draw, and one for
// the draw that follows where the grammar refuses the first.
class Sampler {
public:
    Sampler(const Sampling& sampling, std::uint64_t seed, Biases biases, const PenaltySettings& penalties,
            std::optional<Grammar> grammar)
        : sampling_(sampling),
          seed_(seed),
          biases_(std::move(biases)),
          penalties_(penalties),
          grammar_(std::move(grammar)) {}

    // Throws BadLogits for NaN, for rows without a finite or +inf entry and where the biases leave no token;
    // GrammarStuck where the grammar leaves none.
    Choice choose(const float* row, std::size_t size);
    // A token that stands in front of the next choice: the penalties count it, and the grammar goes on where it is
    // `ruled` by it. Throws GrammarStuck.
    void accept(std::int32_t token, bool ruled) {
        if (grammar_ && ruled) grammar_->accept(token);
        penalties_.accept(token);
    }

private:
    struct Candidate {
        float logit;
        std::int32_t token;
        float weight;
        // The best first; of equal ones the first of the row.
        bool operator<(const Candidate& other) const {
            return logit != other.logit ? logit > other.logit : token < other.token;
        }
    };
    // A row, what the pass over it told, and a place in [0, 1) among its tokens.
    struct Draw {
        const float* row;
        std::size_t size;
        RowSummary summary;
        double luck;
    };

    bool changes() const { return !biases_.empty() || penalties_.active(); }
    Draw changed(const float* row, std::size_t size, double luck, bool ruled = false);
    RowSummary summarize(const float* row, std::size_t size);
    std::int32_t draw(const Draw& from);
    std::int32_t draw_down_to(const Draw& from, const Candidate& last);
    Candidate last_of_top_k(const Draw& from);
    Candidate last_of_top_p(const Draw& from);
    Candidate last_of_share(double share);
    double weight_of_block(const Draw& from, std::size_t block, float scale, float floor) const;
    double weight_down_to(const Draw& from, float floor) const;
    double kept_weight(const Draw& from, std::size_t block, const Candidate& last);
    void keep_best(const Draw& from, std::size_t k);
    void keep_between(const Draw& from, float first, const Candidate& last);
    void keep_of_block(const Draw& from, std::size_t block, float first, const Candidate& last, float scale);
    float scale() const;

    Sampling sampling_;
    std::uint64_t seed_;
    Biases biases_;
    Penalties penalties_;
    std::optional<Grammar> grammar_;
    std::uint64_t n_chosen_ = 0;
    std::vector<BlockSummary> blocks_;
    std::vector<double> weights_;
    std::vector<Candidate> candidates_;
    std::vector<float> changed_;
};

}  // namespace edge_wsd
