// A flag that a running decode polls without entering Python.
#pragma once

#include <atomic>
#include <cstdint>

namespace edge_wsd {

class CancelFlag {
public:
    void set() noexcept { raised_.store(true, std::memory_order_release); }
    void clear() noexcept { raised_.store(false, std::memory_order_release); }
    bool is_set() const noexcept { return raised_.load(std::memory_order_acquire); }

    std::uintptr_t address() const noexcept { return reinterpret_cast<std::uintptr_t>(this); }
    static std::uintptr_t callback() noexcept { return reinterpret_cast<std::uintptr_t>(&poll); }

private:
    // Has the C signature bool (*)(void*) with a CancelFlag's address as its argument.
    static bool poll(void* flag) noexcept { return static_cast<const CancelFlag*>(flag)->is_set(); }

    std::atomic<bool> raised_{false};
};

}  // namespace edge_wsd
