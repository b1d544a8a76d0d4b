// x86-64 with AVX-512F: sixteen floats at a time.
#include <immintrin.h>

#include "kernel.hpp"

namespace edge_wsd {
namespace {

struct Avx512 {
    using Float = __m512;
    static constexpr std::size_t width = 16;
    static constexpr std::size_t lanes = 4;

    static Float load(const float* p) { return _mm512_loadu_ps(p); }
    static Float set(float x) { return _mm512_set1_ps(x); }
    static Float max(Float a, Float b) { return _mm512_max_ps(a, b); }
    static Float at_least(Float x, Float floor) {
        return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, floor, _CMP_GE_OQ), set(-HUGE_VALF), x);
    }
    static Float add(Float a, Float b) { return _mm512_add_ps(a, b); }
    static Float sub(Float a, Float b) { return _mm512_sub_ps(a, b); }
    static Float mul(Float a, Float b) { return _mm512_mul_ps(a, b); }
    static Float fma(Float a, Float b, Float c) { return _mm512_fmadd_ps(a, b, c); }
    static Float power_of_two(Float shifted) {
        const __m512i exponent = _mm512_slli_epi32(_mm512_castps_si512(shifted), 23);
        return _mm512_castsi512_ps(_mm512_add_epi32(exponent, _mm512_set1_epi32(0x3f800000)));
    }
    static float reduce_max(Float a) { return _mm512_reduce_max_ps(a); }
    static float reduce_add(Float a) { return _mm512_reduce_add_ps(a); }
};

}  // namespace

const RowKernel kernel_avx512 = Pass<Avx512>::kernel;

}  // namespace edge_wsd
