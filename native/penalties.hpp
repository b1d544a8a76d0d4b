// What the user adds to logits, and what is taken off those of tokens that came before: llama.cpp's arithmetic.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <unordered_map>
#include <utility>
#include <vector>

namespace edge_wsd {

using Biases = std::vector<std::pair<std::int32_t, float>>;

struct PenaltySettings {
    std::int32_t last_n;  // tokens that count; 0: none, -1: all
    float repeat;         // 1: none
    float frequency;      // 0: none
    float presence;       // 0: none
};

class Penalties {
public:
    explicit Penalties(const PenaltySettings& settings) : settings_(settings) {}

    bool active() const {
        return settings_.last_n != 0 && (settings_.repeat != 1 || settings_.frequency != 0 || settings_.presence != 0);
    }

    void accept(std::int32_t token) {
        if (!active()) return;
        ++counts_[token];
        if (settings_.last_n < 0) return;
        window_.push_back(token);
        if (window_.size() <= static_cast<std::size_t>(settings_.last_n)) return;
        if (--counts_[window_.front()] == 0) counts_.erase(window_.front());
        window_.pop_front();
    }

    void apply(float* row, std::size_t size) const {
        for (const auto& [token, count] : counts_) {
            if (static_cast<std::size_t>(token) >= size) continue;
            float& logit = row[token];
            // Divided where it is above 0 and multiplied below: either way it gets smaller.
            logit = logit <= 0 ? logit * settings_.repeat : logit / settings_.repeat;
            logit -= static_cast<float>(count) * settings_.frequency + settings_.presence;
        }
    }

private:
    PenaltySettings settings_;
    std::deque<std::int32_t> window_;
    std::unordered_map<std::int32_t, std::int32_t> counts_;
};

}  // namespace edge_wsd
