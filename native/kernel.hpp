// The pass itself, written once over a vector type `V` that each instruction set defines:
//   V::Float, width (floats in it), lanes (independent accumulators, which hide the latency of an addition),
//   load, set, max (the second operand where either is NaN), at_least (-inf for what is below), add, sub, mul, fma,
//   power_of_two (2^n from the low bits of n + 1.5 * 2^23), reduce_max, reduce_add.
// `V` must live in an unnamed namespace: then nothing compiled here with special instructions
// can be shared by the linker with code that runs on every machine.
#pragma once

#include <cfloat>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "logits.hpp"

namespace edge_wsd {

template <class V>
struct Pass {
    using Float = typename V::Float;

    static constexpr std::size_t lanes = V::lanes;
    static constexpr std::size_t stride = lanes * V::width;
    // A block is read twice while it lies in the first-level cache: once for its maximum, once for its
    // exponentials. So the sum is rescaled at most once a block, also when the row only rises.
    static constexpr std::size_t block = block_size;
    static_assert(block % stride == 0, "a whole block needs no tail");

    // Adds exp(x) to sum, for x <= 0, with a relative error of about 1e-7; NaN stays NaN. Below -87 the result
    // would not be a normal number and is held at exp(-87), which a sum with a term of 1 cannot notice.
    static Float add_exp(Float x, Float sum) {
        const Float shifter = V::set(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
        x = V::max(V::set(-87.0f), x);
        const Float shifted = V::fma(x, V::set(1.44269504f), shifter);
        const Float n = V::sub(shifted, shifter);
        // ln 2 in two parts: the first has few bits, so n times it is exact even without a fused operation.
        Float r = V::fma(n, V::set(-0.693359375f), x);
        r = V::fma(n, V::set(2.12194440e-4f), r);
        // Minimax polynomial for |r| <= ln(2)/2, relative error 3e-9 before rounding.
        Float p = V::set(0.0013814467f);
        p = V::fma(p, r, V::set(0.008368781f));
        p = V::fma(p, r, V::set(0.041668393f));
        p = V::fma(p, r, V::set(0.1666652f));
        p = V::fma(p, r, V::set(0.49999994f));
        p = V::fma(p, r, V::set(1.0f));
        p = V::fma(p, r, V::set(1.0f));
        return V::fma(p, V::power_of_two(shifted), sum);
    }

    static float maximum(const float* data, std::size_t size) {
        Float best[lanes];
        for (Float& lane : best) lane = V::set(-HUGE_VALF);
        for (std::size_t i = 0; i < size; i += stride)
            for (std::size_t k = 0; k < lanes; ++k) best[k] = V::max(V::load(data + i + k * V::width), best[k]);
        for (std::size_t half = lanes / 2; half > 0; half /= 2)
            for (std::size_t k = 0; k < half; ++k) best[k] = V::max(best[k], best[k + half]);
        return V::reduce_max(best[0]);
    }

    // Sum of exp(exponent(data[i])).
    template <class Exponent>
    static double sum_exp(const float* data, std::size_t size, Exponent exponent) {
        Float sum[lanes];
        for (Float& lane : sum) lane = V::set(0.0f);
        for (std::size_t i = 0; i < size; i += stride)
            for (std::size_t k = 0; k < lanes; ++k) sum[k] = add_exp(exponent(V::load(data + i + k * V::width)), sum[k]);
        for (std::size_t half = lanes / 2; half > 0; half /= 2)
            for (std::size_t k = 0; k < half; ++k) sum[k] = V::add(sum[k], sum[k + half]);
        return V::reduce_add(sum[0]);
    }

    // Calls visit(start, data, count) for each block of the row; the last one is padded with -inf to whole strides.
    template <class Visit>
    static void each_block(const float* row, std::size_t size, Visit visit) {
        float padded[block];
        for (std::size_t start = 0; start < size; start += block) {
            const float* data = row + start;
            std::size_t count = block;
            if (size - start < block) {
                const std::size_t rest = size - start;
                count = (rest + stride - 1) / stride * stride;
                std::memcpy(padded, data, rest * sizeof(float));
                for (std::size_t i = rest; i < count; ++i) padded[i] = -HUGE_VALF;
                data = padded;
            }
            visit(start, data, count);
        }
    }

    static double weight(const float* row, std::size_t size, float peak, float scale, float floor) {
        const Float by = V::set(peak), times = V::set(scale), least = V::set(floor);
        double total = 0;
        each_block(row, size, [&](std::size_t, const float* data, std::size_t count) {
            total += sum_exp(data, count, [&](Float x) { return V::mul(V::sub(V::at_least(x, least), by), times); });
        });
        return total;
    }

    static RowSummary run(const float* row, std::size_t size, BlockSummary* blocks) {
        RowSummary summary{-HUGE_VALF, 0, 0.0};
        float shift = -FLT_MAX;  // never -inf, so that leading -inf entries count for nothing and not as NaN
        std::size_t peak_start = 0;
        each_block(row, size, [&](std::size_t start, const float* data, std::size_t count) {
            const float peak = maximum(data, count);
            if (peak > summary.peak) {
                summary.total *= std::exp(static_cast<double>(shift) - static_cast<double>(peak));
                summary.peak = shift = peak;
                peak_start = start;
            }
            const Float by = V::set(shift);
            const double total = sum_exp(data, count, [&](Float x) { return V::sub(x, by); });
            summary.total += total;
            if (blocks) *blocks++ = {peak, shift, total};
        });
        std::size_t index = peak_start;
        while (index + 1 < size && row[index] != summary.peak) ++index;
        summary.argmax = static_cast<std::int32_t>(index);
        return summary;
    }

    static constexpr RowKernel kernel{run, weight};
};

}  // namespace edge_wsd
