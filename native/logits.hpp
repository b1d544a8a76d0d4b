// What one pass over a row of logits tells, and the implementations that make the pass.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace edge_wsd {

// The outcome of the pass over a row of floats. `total` is the sum of exp(row[i] - peak).
struct RowSummary {
    float peak;
    std::int32_t argmax;  // the lowest index that holds `peak`; meaningless unless regular()
    double total;

    // A NaN anywhere makes `total` NaN; +inf and an all -inf row make `peak` infinite.
    bool regular() const;
    double logprob(float logit) const;  // of an entry of a regular row
};

constexpr std::size_t block_size = 512;

inline std::size_t n_blocks(std::size_t size) { return (size + block_size - 1) / block_size; }

// One block of a row: `total` is the sum of exp(row[i] - shift), where `shift` is the greatest entry so far.
struct BlockSummary {
    float peak;
    float shift;
    double total;
};

// The passes over a row that an instruction set is used for.
struct RowKernel {
    // Also tells of each block where `blocks` is not null; it holds n_blocks(size).
    RowSummary (*summarize)(const float* row, std::size_t size, BlockSummary* blocks);
    // The sum of exp((row[i] - peak) * scale) over those that are at least `floor`; none may be above `peak`.
    double (*weight)(const float* row, std::size_t size, float peak, float scale, float floor);
};

// The kernel in use.
const RowKernel& current_kernel();

struct RowScore {
    double logprob;
    std::int32_t greedy;
    double greedy_logprob;
};

// The logits do not describe a distribution; the message says why.
struct BadLogits : std::runtime_error {
    using std::runtime_error::runtime_error;
};

constexpr std::int32_t no_target = -1;

// Scores one row with the chosen kernel: target `no_target` yields a NaN log-probability. Throws BadLogits.
RowScore score(const float* row, std::size_t size, std::int32_t target);

// Rows with infinities, where the limit is taken: each +inf shares the whole probability equally.
// Throws BadLogits for NaN and for rows without a finite or +inf entry.
RowScore score_irregular(const float* row, std::size_t size, std::int32_t target);

// A token that may come next.
struct Likely {
    std::int32_t token;
    double logprob;
};

// The `n` most probable entries of a row, the best first; fewer where fewer have any probability. Throws BadLogits.
std::vector<Likely> likeliest(const float* row, std::size_t size, std::size_t n);

// Names of the implementations that this machine runs, fastest first.
std::vector<std::string> available_isas();
std::string current_isa();
// Throws std::invalid_argument for a name that this machine does not run.
void force_isa(const std::string& name);

extern const RowKernel kernel_portable;
extern const RowKernel kernel_avx2;
extern const RowKernel kernel_avx512;
extern const RowKernel kernel_neon;

}  // namespace edge_wsd
