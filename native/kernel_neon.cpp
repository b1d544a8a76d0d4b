// 64-bit ARM, where NEON is always there: four floats at a time.
#include <arm_neon.h>

#include "kernel.hpp"

namespace edge_wsd {
namespace {

struct Neon {
    using Float = float32x4_t;
    static constexpr std::size_t width = 4;
    static constexpr std::size_t lanes = 4;

    static Float load(const float* p) { return vld1q_f32(p); }
    static Float set(float x) { return vdupq_n_f32(x); }
    static Float max(Float a, Float b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
    static Float at_least(Float x, Float floor) { return vbslq_f32(vcgeq_f32(x, floor), x, set(-HUGE_VALF)); }
    static Float add(Float a, Float b) { return vaddq_f32(a, b); }
    static Float sub(Float a, Float b) { return vsubq_f32(a, b); }
    static Float mul(Float a, Float b) { return vmulq_f32(a, b); }
    static Float fma(Float a, Float b, Float c) { return vfmaq_f32(c, a, b); }
    static Float power_of_two(Float shifted) {
        const uint32x4_t exponent = vshlq_n_u32(vreinterpretq_u32_f32(shifted), 23);
        return vreinterpretq_f32_u32(vaddq_u32(exponent, vdupq_n_u32(0x3f800000)));
    }
    static float reduce_max(Float a) { return vmaxnmvq_f32(a); }
    static float reduce_add(Float a) { return vaddvq_f32(a); }
};

}  // namespace

const RowKernel kernel_neon = Pass<Neon>::kernel;

}  // namespace edge_wsd
