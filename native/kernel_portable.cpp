// Plain loops over small arrays: right on every machine, and vectorised by most compilers.
#include "kernel.hpp"

namespace edge_wsd {
namespace {

struct Portable {
    static constexpr std::size_t width = 8;
    struct Float {
        float v[width];
    };

    static Float load(const float* p) {
        Float r;
        std::memcpy(r.v, p, sizeof r.v);
        return r;
    }
    static Float set(float x) {
        Float r;
        for (float& lane : r.v) lane = x;
        return r;
    }
    // The second operand where either is NaN, as the x86 instructions do.
    static Float max(Float a, Float b) {
        for (std::size_t i = 0; i < width; ++i) b.v[i] = a.v[i] > b.v[i] ? a.v[i] : b.v[i];
        return b;
    }
    static Float add(Float a, Float b) {
        for (std::size_t i = 0; i < width; ++i) a.v[i] += b.v[i];
        return a;
    }
    static Float sub(Float a, Float b) {
        for (std::size_t i = 0; i < width; ++i) a.v[i] -= b.v[i];
        return a;
    }
    static Float fma(Float a, Float b, Float c) {
        for (std::size_t i = 0; i < width; ++i) c.v[i] += a.v[i] * b.v[i];
        return c;
    }
    // 2^n from the low bits of n + 1.5 * 2^23.
    static Float power_of_two(Float shifted) {
        std::uint32_t bits[width];
        std::memcpy(bits, shifted.v, sizeof bits);
        for (std::uint32_t& lane : bits) lane = (lane << 23) + 0x3f800000u;
        Float r;
        std::memcpy(r.v, bits, sizeof bits);
        return r;
    }
    static float reduce_max(Float a) {
        float best = a.v[0];
        for (float lane : a.v) best = lane > best ? lane : best;
        return best;
    }
    static double reduce_add(Float a) {
        double sum = 0.0;
        for (float lane : a.v) sum += lane;
        return sum;
    }
};

}  // namespace

RowSummary summarize_portable(const float* row, std::size_t size) { return Pass<Portable>::run(row, size); }

}  // namespace edge_wsd
