// The most probable entries of a row. Blocks whose greatest entry is no match for those found already are not read again.
#include <algorithm>
#include <cmath>

#include "logits.hpp"

namespace edge_wsd {
namespace {

struct Entry {
    float logit;
    std::int32_t token;
};

// Of equal logits the lower id comes first, as in the greedy choice.
bool before(const Entry& a, const Entry& b) { return a.logit > b.logit || (a.logit == b.logit && a.token < b.token); }

// The `n` best entries above -inf, in order. `blocks` tells the greatest entry of each block.
std::vector<Entry> best_of(const float* row, std::size_t size, std::size_t n, const std::vector<BlockSummary>& blocks) {
    std::vector<Entry> best;  // a heap with the worst in front
    for (std::size_t block = 0; block < blocks.size(); ++block) {
        float least = best.size() == n ? best.front().logit : -HUGE_VALF;
        if (blocks[block].peak <= least) continue;  // at the same logit, the id is higher
        const std::size_t end = std::min(size, (block + 1) * block_size);
        for (std::size_t i = block * block_size; i < end; ++i) {
            if (!(row[i] > least)) continue;
            if (best.size() == n) {
                std::pop_heap(best.begin(), best.end(), before);
                best.pop_back();
            }
            best.push_back({row[i], static_cast<std::int32_t>(i)});
            std::push_heap(best.begin(), best.end(), before);
            if (best.size() == n) least = best.front().logit;
        }
    }
    std::sort_heap(best.begin(), best.end(), before);
    return best;
}

}  // namespace

std::vector<Likely> likeliest(const float* row, std::size_t size, std::size_t n) {
    std::vector<Likely> found;
    if (n == 0) return found;
    std::vector<BlockSummary> blocks(n_blocks(size));
    const RowSummary summary = current_kernel().summarize(row, size, blocks.data());
    const double share = summary.regular() ? 0 : score_irregular(row, size, no_target).greedy_logprob;
    for (const Entry& entry : best_of(row, size, n, blocks)) {
        if (summary.regular())
            found.push_back({entry.token, summary.logprob(entry.logit)});
        else if (std::isinf(entry.logit))  // beside +inf nothing else has a probability
            found.push_back({entry.token, share});
    }
    return found;
}

}  // namespace edge_wsd
