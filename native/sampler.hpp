// Draws tokens from rows of logits, in llama.cpp's order: top-k, top-p, min-p, temperature, a seeded draw.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "logits.hpp"

namespace edge_wsd {

struct Sampling {
    float temperature;   // above 0
    std::int32_t top_k;  // 0: all
    float top_p;         // 1: all
    float min_p;         // 0: all
};

// One per reply and model: every draw moves its random state on by one number.
class Sampler {
public:
    Sampler(const Sampling& sampling, std::uint64_t seed) : sampling_(sampling), random_(seed) {}

    // Throws BadLogits for NaN and for rows without a finite or +inf entry.
    std::int32_t draw(const float* row, std::size_t size);

private:
    struct Candidate {
        float logit;
        std::int32_t token;
        // The best first; of equal ones the first of the row.
        bool operator<(const Candidate& other) const {
            return logit != other.logit ? logit > other.logit : token < other.token;
        }
    };

    double uniform();
    double total_weight(float peak, double scale);
    void look_for_peaks(const float* row, std::size_t size);
    std::int32_t draw_from_all(const float* row, std::size_t size, const RowSummary& summary);
    std::int32_t draw_from_candidates(float peak);
    void keep_at_least(const float* row, std::size_t size, float floor);
    void keep_top_k(const float* row, std::size_t size);
    void keep_top_p(const float* row, std::size_t size, const RowSummary& summary);
    bool cut_top_p(float peak, double total);
    void spread_infinite(const float* row, std::size_t size);

    Sampling sampling_;
    std::mt19937_64 random_;
    std::vector<Candidate> candidates_;
    std::vector<float> peaks_;
    std::vector<double> weights_;
};

}  // namespace edge_wsd
