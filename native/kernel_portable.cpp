// Plain floats in loops of a fixed length: right on every machine, and left to the compiler to vectorise.
#include "kernel.hpp"

namespace edge_wsd {
namespace {

struct Portable {
    using Float = float;
    static constexpr std::size_t width = 1;
    static constexpr std::size_t lanes = 64;  // long enough to stay a loop, which is what vectorisers look for

    static Float load(const float* p) { return *p; }
    static Float set(float x) { return x; }
    static Float max(Float a, Float b) { return a > b ? a : b; }
    static Float at_least(Float x, Float floor) { return x >= floor ? x : -HUGE_VALF; }
    static Float add(Float a, Float b) { return a + b; }
    static Float sub(Float a, Float b) { return a - b; }
    static Float mul(Float a, Float b) { return a * b; }
    static Float fma(Float a, Float b, Float c) { return a * b + c; }
    static Float power_of_two(Float shifted) {
        std::uint32_t bits;
        std::memcpy(&bits, &shifted, sizeof bits);
        bits = (bits << 23) + 0x3f800000u;
        std::memcpy(&shifted, &bits, sizeof bits);
        return shifted;
    }
    static float reduce_max(Float a) { return a; }
    static float reduce_add(Float a) { return a; }
};

}  // namespace

const RowKernel kernel_portable = Pass<Portable>::kernel;

}  // namespace edge_wsd
