// x86-64 with AVX2 and FMA: eight floats at a time.
#include <immintrin.h>

#include "kernel.hpp"

namespace edge_wsd {
namespace {

struct Avx2 {
    using Float = __m256;
    static constexpr std::size_t width = 8;
    static constexpr std::size_t lanes = 2;

    static Float load(const float* p) { return _mm256_loadu_ps(p); }
    static Float set(float x) { return _mm256_set1_ps(x); }
    static Float max(Float a, Float b) { return _mm256_max_ps(a, b); }
    static Float at_least(Float x, Float floor) {
        return _mm256_blendv_ps(set(-HUGE_VALF), x, _mm256_cmp_ps(x, floor, _CMP_GE_OQ));
    }
    static Float add(Float a, Float b) { return _mm256_add_ps(a, b); }
    static Float sub(Float a, Float b) { return _mm256_sub_ps(a, b); }
    static Float mul(Float a, Float b) { return _mm256_mul_ps(a, b); }
    static Float fma(Float a, Float b, Float c) { return _mm256_fmadd_ps(a, b, c); }
    static Float power_of_two(Float shifted) {
        const __m256i exponent = _mm256_slli_epi32(_mm256_castps_si256(shifted), 23);
        return _mm256_castsi256_ps(_mm256_add_epi32(exponent, _mm256_set1_epi32(0x3f800000)));
    }
    static float reduce_max(Float a) {
        __m128 r = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
        r = _mm_max_ps(r, _mm_movehl_ps(r, r));
        return _mm_cvtss_f32(_mm_max_ss(r, _mm_movehdup_ps(r)));
    }
    static float reduce_add(Float a) {
        __m128 r = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
        r = _mm_add_ps(r, _mm_movehl_ps(r, r));
        return _mm_cvtss_f32(_mm_add_ss(r, _mm_movehdup_ps(r)));
    }
};

}  // namespace

const RowKernel kernel_avx2 = Pass<Avx2>::kernel;

}  // namespace edge_wsd
