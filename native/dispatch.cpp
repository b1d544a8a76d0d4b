// Chooses the fastest kernel that the processor runs.
#include <atomic>
#include <cmath>
#include <limits>

#include "logits.hpp"

namespace edge_wsd {
namespace {

struct Isa {
    const char* name;
    const RowKernel* kernel;
    bool (*supported)();
};

// Fastest first; the last one runs everywhere.
const Isa isas[] = {
#if defined(EDGE_WSD_X86)
    {"avx512", &kernel_avx512, [] { return __builtin_cpu_supports("avx512f") != 0; }},
    {"avx2", &kernel_avx2,
     [] { return __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0; }},
#elif defined(EDGE_WSD_NEON)
    {"neon", &kernel_neon, [] { return true; }},
#endif
    {"portable", &kernel_portable, [] { return true; }},
};

const Isa* fastest() {
    const Isa* isa = isas;
    while (!isa->supported()) ++isa;
    return isa;
}

std::atomic<const Isa*> chosen{fastest()};

}  // namespace

std::vector<std::string> available_isas() {
    std::vector<std::string> names;
    for (const Isa& isa : isas)
        if (isa.supported()) names.emplace_back(isa.name);
    return names;
}

const RowKernel& current_kernel() { return *chosen.load(std::memory_order_relaxed)->kernel; }

std::string current_isa() { return chosen.load()->name; }

void force_isa(const std::string& name) {
    for (const Isa& isa : isas) {
        if (isa.name == name && isa.supported()) {
            chosen = &isa;
            return;
        }
    }
    std::string known;
    for (const std::string& isa : available_isas()) known += (known.empty() ? "" : ", ") + isa;
    throw std::invalid_argument("this machine does not run the instruction set '" + name + "'; it runs: " + known);
}

double RowSummary::logprob(float logit) const {
    return static_cast<double>(logit) - static_cast<double>(peak) - std::log(total);
}

RowScore score(const float* row, std::size_t size, std::int32_t target) {
    const RowSummary summary = current_kernel().summarize(row, size, nullptr);
    if (!summary.regular()) return score_irregular(row, size, target);
    double logprob = std::numeric_limits<double>::quiet_NaN();
    if (target != no_target) logprob = summary.logprob(row[target]);
    return {logprob, summary.argmax, summary.logprob(summary.peak)};
}

}  // namespace edge_wsd
