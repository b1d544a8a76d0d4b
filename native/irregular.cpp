// Rows that the fast pass only recognises: NaN, +inf, nothing but -inf. They are rare, so clarity wins here.
#include <cmath>
#include <limits>

#include "logits.hpp"

namespace edge_wsd {

bool RowSummary::regular() const { return std::isfinite(peak) && !std::isnan(total); }

RowScore score_irregular(const float* row, std::size_t size, std::int32_t target) {
    std::size_t nan_count = 0;
    std::size_t infinite_count = 0;
    std::size_t first_infinite = 0;
    for (std::size_t i = 0; i < size; ++i) {
        if (std::isnan(row[i])) {
            ++nan_count;
        } else if (std::isinf(row[i]) && row[i] > 0) {
            if (infinite_count++ == 0) first_infinite = i;
        }
    }
    if (nan_count > 0)
        throw BadLogits(std::to_string(nan_count) + " of " + std::to_string(size) + " logits are NaN");
    if (infinite_count == 0) throw BadLogits("no finite logits among " + std::to_string(size));

    const double share = -std::log(static_cast<double>(infinite_count));
    double logprob = std::numeric_limits<double>::quiet_NaN();
    if (target != no_target)
        logprob = std::isinf(row[target]) && row[target] > 0 ? share : -std::numeric_limits<double>::infinity();
    return {logprob, static_cast<std::int32_t>(first_infinite), share};
}

}  // namespace edge_wsd
