// Asks llama.cpp about every token in one call: from Python each question costs half a microsecond.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace edge_wsd {

// Addresses of llama_vocab_get_text, llama_vocab_get_attr and llama_token_to_piece.
using GetText = const char* (*)(const void* vocab, std::int32_t token);
using GetAttributes = int (*)(const void* vocab, std::int32_t token);
using GetPiece = std::int32_t (*)(const void* vocab, std::int32_t token, char* buffer, std::int32_t length,
                                  std::int32_t lstrip, bool special);

inline std::string text_of(GetText get, const void* vocab, std::int32_t token) {
    const char* text = get(vocab, token);
    return text ? text : "";
}

inline std::string piece_of(GetPiece get, const void* vocab, std::int32_t token) {
    std::string piece(64, '\0');
    std::int32_t size = get(vocab, token, piece.data(), static_cast<std::int32_t>(piece.size()), 0, false);
    if (size < 0) {  // it needs more room, this much
        piece.resize(static_cast<std::size_t>(-size));
        size = get(vocab, token, piece.data(), -size, 0, false);
    }
    piece.resize(static_cast<std::size_t>(size));
    return piece;
}

}  // namespace edge_wsd
