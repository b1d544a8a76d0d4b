// Takes apart the strings of an array in a GGUF file. A vocabulary has a few hundred thousand: too many for a loop in
// Python, where they were most of the time that checking a file took.
#pragma once

#include <nanobind/nanobind.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>

namespace edge_wsd {

// The next strings of `window` from byte `at` on, up to `count`, and where they end. Each stands behind its length, 64
// bits, little-endian. Stops before the first that is not whole, is longer than `most` bytes or is not UTF-8.
inline std::pair<nanobind::list, std::size_t> split_texts(const nanobind::bytes& window, std::size_t at, std::size_t count,
                                                          std::size_t most) {
    const char* data = window.c_str();
    const std::size_t size = window.size();
    if (at > size)
        throw std::invalid_argument("at is " + std::to_string(at) + "; expected at most " + std::to_string(size) +
                                    ", the size of the window");
    constexpr std::size_t prefix = 8;
    nanobind::list texts;
    for (; count > 0 && size - at >= prefix; --count) {
        std::uint64_t length = 0;
        for (std::size_t byte = prefix; byte-- > 0;) length = length << 8 | static_cast<unsigned char>(data[at + byte]);
        if (length > std::min(most, size - at - prefix)) break;
        PyObject* text = PyUnicode_DecodeUTF8(data + at + prefix, static_cast<Py_ssize_t>(length), "strict");
        if (!text) {
            if (!PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) nanobind::raise_python_error();
            PyErr_Clear();
            break;
        }
        texts.append(nanobind::steal(text));
        at += prefix + static_cast<std::size_t>(length);
    }
    return {std::move(texts), at};
}

}  // namespace edge_wsd
