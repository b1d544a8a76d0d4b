// A row is not sorted: blocks whose greatest entry is too small are passed over, and only what is left is.
#include "sampler.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace edge_wsd {
namespace {

// exp(-12) of the peak's probability: the first look for a top-p takes the tokens above that.
constexpr float first_depth = 12.0f;
// Times a difference of 0 it must stay 0, however low the temperature.
constexpr float greatest_scale = 1e30f;

double weight(float logit, float peak, double scale = 1.0) {
    return std::exp((static_cast<double>(logit) - static_cast<double>(peak)) * scale);
}

}  // namespace

std::int32_t Sampler::draw(const float* row, std::size_t size) {
    const RowSummary summary = current_kernel().summarize(row, size);
    if (!summary.regular()) {
        score_irregular(row, size, no_target);  // throws for what cannot be drawn from
        spread_infinite(row, size);
        return draw_from_candidates(0.0f);
    }
    const bool has_top_k = sampling_.top_k > 0 && static_cast<std::size_t>(sampling_.top_k) < size;
    const bool has_top_p = sampling_.top_p < 1;
    if (!has_top_k && !has_top_p && sampling_.min_p <= 0) return draw_from_all(row, size, summary);

    const float floor = sampling_.min_p > 0 ? summary.peak + std::log(sampling_.min_p) : -HUGE_VALF;
    look_for_peaks(row, size);
    if (has_top_k)
        keep_top_k(row, size);
    else if (has_top_p)
        keep_top_p(row, size, summary);
    else
        keep_at_least(row, size, floor);
    if (has_top_k && has_top_p) cut_top_p(summary.peak, total_weight(summary.peak, 1.0));
    while (candidates_.back().logit < floor) candidates_.pop_back();  // the peak stays
    return draw_from_candidates(summary.peak);
}

// In [0, 1), from the upper 53 bits, which every standard library makes alike.
double Sampler::uniform() { return static_cast<double>(random_() >> 11) * 0x1.0p-53; }

std::int32_t Sampler::draw_from_all(const float* row, std::size_t size, const RowSummary& summary) {
    const float scale = std::min(1.0f / sampling_.temperature, greatest_scale);
    weights_.resize(n_blocks(size));
    current_kernel().weights(row, size, summary.peak, scale, weights_.data());
    double total = 0;
    for (const double each : weights_) total += each;
    double left = uniform() * total;
    std::size_t block = 0;
    while (block + 1 < weights_.size() && left >= weights_[block]) left -= weights_[block++];
    // What rounding leaves over at the end of a block goes to the last token of it that can be drawn.
    std::int32_t token = summary.argmax;
    const std::size_t end = std::min(size, (block + 1) * block_size);
    for (std::size_t i = block * block_size; i < end; ++i) {
        const double each = weight(row[i], summary.peak, scale);
        if (each > 0) token = static_cast<std::int32_t>(i);
        if ((left -= each) < 0) break;
    }
    return token;
}

std::int32_t Sampler::draw_from_candidates(float peak) {
    const double total = total_weight(peak, std::min(1.0f / sampling_.temperature, greatest_scale));
    double left = uniform() * total;
    std::size_t i = 0;
    while (i + 1 < candidates_.size() && (left -= weights_[i]) >= 0) ++i;
    return candidates_[i].token;
}

// Fills weights_ with those of the candidates.
double Sampler::total_weight(float peak, double scale) {
    weights_.clear();
    double total = 0;
    for (const Candidate& each : candidates_) {
        weights_.push_back(weight(each.logit, peak, scale));
        total += weights_.back();
    }
    return total;
}

void Sampler::look_for_peaks(const float* row, std::size_t size) {
    peaks_.resize(n_blocks(size));
    current_kernel().peaks(row, size, peaks_.data());
}

void Sampler::keep_at_least(const float* row, std::size_t size, float floor) {
    candidates_.clear();
    for (std::size_t block = 0; block < peaks_.size(); ++block) {
        if (peaks_[block] < floor) continue;
        const std::size_t end = std::min(size, (block + 1) * block_size);
        for (std::size_t i = block * block_size; i < end; ++i)
            if (row[i] >= floor) candidates_.push_back({row[i], static_cast<std::int32_t>(i)});
    }
    std::sort(candidates_.begin(), candidates_.end());
}

void Sampler::keep_top_k(const float* row, std::size_t size) {
    const std::size_t k = static_cast<std::size_t>(sampling_.top_k);
    candidates_.clear();
    float bound = -HUGE_VALF;  // k better ones are known
    const auto narrow = [&] {
        std::nth_element(candidates_.begin(), candidates_.begin() + (k - 1), candidates_.end());
        bound = candidates_[k - 1].logit;
        candidates_.resize(k);
    };
    for (std::size_t block = 0; block < peaks_.size(); ++block) {
        if (candidates_.size() >= k && peaks_[block] <= bound) continue;
        const std::size_t end = std::min(size, (block + 1) * block_size);
        for (std::size_t i = block * block_size; i < end; ++i)
            if (candidates_.size() < k || row[i] > bound) candidates_.push_back({row[i], static_cast<std::int32_t>(i)});
        if (candidates_.size() > k) narrow();
    }
    std::sort(candidates_.begin(), candidates_.end());
}

void Sampler::keep_top_p(const float* row, std::size_t size, const RowSummary& summary) {
    for (float depth = first_depth;; depth *= 2) {
        const bool everything = !(summary.peak - depth > -std::numeric_limits<float>::max()) || depth > 1e6f;
        keep_at_least(row, size, everything ? -HUGE_VALF : summary.peak - depth);
        if (cut_top_p(summary.peak, summary.total) || everything) return;
    }
}

// Keeps the best that make up the share, at least one; false if all of them make up less.
bool Sampler::cut_top_p(float peak, double total) {
    double sum = 0;
    for (std::size_t i = 0; i < candidates_.size(); ++i) {
        sum += weight(candidates_[i].logit, peak);
        if (sum >= static_cast<double>(sampling_.top_p) * total) {
            candidates_.resize(i + 1);
            return true;
        }
    }
    return false;
}

// Each +inf has the same share, everything else has none.
void Sampler::spread_infinite(const float* row, std::size_t size) {
    candidates_.clear();
    for (std::size_t i = 0; i < size; ++i)
        if (std::isinf(row[i]) && row[i] > 0) candidates_.push_back({0.0f, static_cast<std::int32_t>(i)});
    if (sampling_.top_k > 0 && candidates_.size() > static_cast<std::size_t>(sampling_.top_k))
        candidates_.resize(static_cast<std::size_t>(sampling_.top_k));
    if (sampling_.top_p < 1) cut_top_p(0.0f, static_cast<double>(candidates_.size()));
}

}  // namespace edge_wsd
