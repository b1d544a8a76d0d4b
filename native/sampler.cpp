// A row is never sorted. What top-k, top-p and min-p keep ends at a last token in the order of logits; once that is
// found, the kept tokens are walked through in the order of the row, so that rounding in the logits moves few draws.
#include "sampler.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

namespace edge_wsd {
namespace {

// The first look for a top-p takes the tokens that are at least exp(-4) times as probable as the best, in logits.
constexpr float first_depth = 4.0f;
// Nothing deeper adds to a sum that holds a 1.
constexpr float last_depth = 128.0f;
// Times a difference of 0 it must stay 0, however low the temperature.
constexpr float greatest_scale = 1e30f;
constexpr float lowest = -std::numeric_limits<float>::infinity();
constexpr double all = std::numeric_limits<double>::infinity();
constexpr std::int32_t last_token = std::numeric_limits<std::int32_t>::max();

std::uint64_t mixed(std::uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

// The n-th number of the seed's series, in [0, 1). Source: SplitMix64 (Steele, Lea and Flood 2014), which is stateless.
double random_number(std::uint64_t seed, std::uint64_t n) {
    return static_cast<double>(mixed(mixed(seed) + (n + 1) * 0x9e3779b97f4a7c15u) >> 11) * 0x1.0p-53;
}

}  // namespace

Choice Sampler::choose(const float* row, std::size_t size) {
    const std::uint64_t n = n_chosen_++;
    const double luck = random_number(seed_, 2 * n), second = random_number(seed_, 2 * n + 1);
    const RowSummary summary = summarize(row, size);
    if (!summary.regular()) score_irregular(row, size, no_target);  // throws for what cannot be drawn from
    const bool as_it_is = !changes() && summary.regular();
    std::int32_t token = draw(as_it_is ? Draw{row, size, summary, luck} : changed(row, size, luck));
    if (grammar_ && !grammar_->allows(token)) token = draw(changed(row, size, second, true));
    return {token, summary.regular() ? summary.logprob(row[token]) : score_irregular(row, size, token).logprob};
}

// A copy of the row with biases and penalties, and `ruled` by the grammar. Of infinite entries each has the same share,
// everything else has none.
Sampler::Draw Sampler::changed(const float* row, std::size_t size, double luck, bool ruled) {
    changed_.assign(row, row + size);
    for (const auto& [token, bias] : biases_)
        if (static_cast<std::size_t>(token) < size) changed_[token] = bias == lowest ? lowest : changed_[token] + bias;
    if (penalties_.active()) penalties_.apply(changed_.data(), size);
    RowSummary summary = summarize(changed_.data(), size);
    if (summary.peak == lowest) throw BadLogits("the biases leave no token that could be chosen");
    if (ruled) {
        grammar_->restrict(changed_);
        summary = summarize(changed_.data(), size);
        if (summary.peak == lowest) throw GrammarStuck("the grammar allows none of the model's tokens here");
    }
    if (!summary.regular()) {
        for (float& logit : changed_) logit = logit > 0 && std::isinf(logit) ? 0 : lowest;
        summary = summarize(changed_.data(), size);
    }
    return {changed_.data(), size, summary, luck};
}

RowSummary Sampler::summarize(const float* row, std::size_t size) {
    blocks_.resize(n_blocks(size));
    return current_kernel().summarize(row, size, blocks_.data());
}

std::int32_t Sampler::draw(const Draw& from) {
    if (sampling_.temperature == 0) return from.summary.argmax;
    Candidate last{lowest, last_token, 0};
    if (sampling_.top_k > 0 && static_cast<std::size_t>(sampling_.top_k) < from.size)
        last = last_of_top_k(from);
    else if (sampling_.top_p < 1)
        last = last_of_top_p(from);
    if (sampling_.min_p > 0)
        last = std::min(last, Candidate{from.summary.peak + std::log(sampling_.min_p), last_token, 0});
    return draw_down_to(from, last);
}

float Sampler::scale() const { return std::min(1.0f / sampling_.temperature, greatest_scale); }

// Draws a block by its weight, then a token of it.
std::int32_t Sampler::draw_down_to(const Draw& from, const Candidate& last) {
    weights_.resize(blocks_.size());
    double left = 0;
    for (std::size_t block = 0; block < blocks_.size(); ++block) left += weights_[block] = kept_weight(from, block, last);
    left *= from.luck;
    std::size_t block = 0;
    while (block + 1 < weights_.size() && left >= weights_[block]) left -= weights_[block++];
    candidates_.clear();
    keep_of_block(from, block, HUGE_VALF, last, scale());
    std::int32_t token = from.summary.argmax;
    for (const Candidate& each : candidates_) {  // what rounding leaves over goes to the last that has a weight
        if (each.weight > 0) token = each.token;
        if ((left -= static_cast<double>(each.weight)) < 0) break;
    }
    return token;
}

// Of a block's tokens down to the last one, at the temperature.
double Sampler::kept_weight(const Draw& from, std::size_t block, const Candidate& last) {
    const BlockSummary& told = blocks_[block];
    if (last.logit == lowest && last.token == last_token && sampling_.temperature == 1)  // the first pass has told
        return told.total * std::exp(static_cast<double>(told.shift) - static_cast<double>(from.summary.peak));
    if (told.peak < last.logit) return 0;
    const std::size_t last_block = static_cast<std::size_t>(last.token) / block_size;
    if (block != last_block) {  // of tokens with the last one's logit, only those in front of it are kept
        const float floor = block < last_block ? last.logit : std::nextafter(last.logit, HUGE_VALF);
        return weight_of_block(from, block, scale(), floor);
    }
    candidates_.clear();
    keep_of_block(from, block, HUGE_VALF, last, scale());
    double total = 0;
    for (const Candidate& each : candidates_) total += static_cast<double>(each.weight);
    return total;
}

// The last token that top-k keeps, and of those top-p.
Sampler::Candidate Sampler::last_of_top_k(const Draw& from) {
    keep_best(from, static_cast<std::size_t>(sampling_.top_k));
    double total = 0;
    for (Candidate& each : candidates_) total += each.weight = std::exp(each.logit - from.summary.peak);
    return last_of_share(sampling_.top_p < 1 ? static_cast<double>(sampling_.top_p) * total : all);
}

// The last token that top-p keeps of the row: looked for by weighing what is above a depth, and then in one narrow band.
Sampler::Candidate Sampler::last_of_top_p(const Draw& from) {
    const float peak = from.summary.peak;
    const double share = static_cast<double>(sampling_.top_p) * from.summary.total;
    float high = 0, low = first_depth;
    double above_high = 0, above = 0;
    while ((above = weight_down_to(from, peak - low)) < share) {
        if (low > last_depth) return {lowest, last_token, 0};
        high = low;
        above_high = above;
        low *= 2;
    }
    for (int halving = 0; halving < 5; ++halving) {
        const float middle = (high + low) / 2;
        if ((above = weight_down_to(from, peak - middle)) < share) {
            high = middle;
            above_high = above;
        } else {
            low = middle;
        }
    }
    keep_between(from, high > 0 ? peak - high : HUGE_VALF, {peak - low, last_token, 0});
    return last_of_share(share - above_high);
}

// The last of the best candidates that make up this weight; of all where they do not. There is at least one.
// Halves the candidates instead of sorting them, and weighs the better half.
Sampler::Candidate Sampler::last_of_share(double share) {
    auto begin = candidates_.begin(), end = candidates_.end();
    while (end - begin > 1) {
        const auto middle = begin + (end - begin) / 2;
        std::nth_element(begin, middle, end);
        double better = 0;
        for (auto each = begin; each != middle; ++each) better += each->weight;
        if (better >= share) {
            end = middle;
        } else {
            share -= better;
            begin = middle;
        }
    }
    return *begin;
}

double Sampler::weight_of_block(const Draw& from, std::size_t block, float scale, float floor) const {
    const std::size_t start = block * block_size;
    const std::size_t size = std::min(from.size - start, block_size);
    return current_kernel().weight(from.row + start, size, from.summary.peak, scale, floor);
}

// At temperature 1, of all tokens down to `floor`.
double Sampler::weight_down_to(const Draw& from, float floor) const {
    double total = 0;
    for (std::size_t block = 0; block < blocks_.size(); ++block)
        if (blocks_[block].peak >= floor) total += weight_of_block(from, block, 1.0f, floor);
    return total;
}

// As many blocks as tokens are wanted have an entry each that is not below the bound, so what is below is none of the best.
void Sampler::keep_best(const Draw& from, std::size_t k) {
    float bound = lowest;
    if (k <= blocks_.size()) {
        weights_.assign(blocks_.size(), 0);
        std::transform(blocks_.begin(), blocks_.end(), weights_.begin(), [](const BlockSummary& each) { return each.peak; });
        std::nth_element(weights_.begin(), weights_.begin() + (k - 1), weights_.end(), std::greater<>());
        bound = static_cast<float>(weights_[k - 1]);
    }
    const auto narrow = [&] {
        std::nth_element(candidates_.begin(), candidates_.begin() + (k - 1), candidates_.end());
        bound = candidates_[k - 1].logit;
        candidates_.resize(k);
    };
    candidates_.clear();
    for (std::size_t block = 0; block < blocks_.size(); ++block) {
        if (blocks_[block].peak < bound) continue;
        const std::size_t end = std::min(from.size, (block + 1) * block_size);
        for (std::size_t i = block * block_size; i < end; ++i)
            if (from.row[i] >= bound) candidates_.push_back({from.row[i], static_cast<std::int32_t>(i), 0});
        if (candidates_.size() > 2 * k + block_size) narrow();
    }
    narrow();
}

// Those below `first`, down to the last one, weighed at temperature 1.
void Sampler::keep_between(const Draw& from, float first, const Candidate& last) {
    candidates_.clear();
    for (std::size_t block = 0; block < blocks_.size(); ++block)
        if (blocks_[block].peak >= last.logit) keep_of_block(from, block, first, last, 1.0f);
}

void Sampler::keep_of_block(const Draw& from, std::size_t block, float first, const Candidate& last, float scale) {
    const std::size_t end = std::min(from.size, (block + 1) * block_size);
    for (std::size_t i = block * block_size; i < end; ++i) {
        const Candidate each{from.row[i], static_cast<std::int32_t>(i), 0};
        if (last < each || each.logit >= first) continue;
        candidates_.push_back({each.logit, each.token, std::exp((each.logit - from.summary.peak) * scale)});
    }
}

}  // namespace edge_wsd
