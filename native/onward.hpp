// Several texts written on in turn, each with its own most probable tokens, without a way back to the caller between them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cancel_flag.hpp"

namespace edge_wsd {

// The layout of llama.cpp's `llama_batch`, which is passed by value. A test compares it with the binding's.
struct LlamaBatch {
    std::int32_t n_tokens;
    std::int32_t* token;
    float* embd;
    std::int32_t* pos;
    std::int32_t* n_seq_id;
    std::int32_t** seq_id;
    std::int8_t* logits;
};

// Functions of the loaded library and what they are called with.
struct Decoder {
    std::int32_t (*decode)(void* context, LlamaBatch batch);
    float* (*get_logits)(void* context);
    bool (*is_end)(const void* vocabulary, std::int32_t token);
    void* context;
    const void* vocabulary;
    std::size_t n_vocab;
};

// One text: the token that is read next, where it stands, and in which sequence.
struct Text {
    std::int32_t token;
    std::int32_t position;
    std::int32_t sequence;
};

struct Limits {
    std::int32_t most;                              // steps
    std::vector<std::vector<std::int32_t>> stops;   // of each text: tokens behind which nothing is wanted
    double least_logprob;                           // nor behind one that is less probable than this
    const CancelFlag* enough;                       // ends it between two steps
};

struct Step {
    std::vector<std::int32_t> tokens;  // one of each text
    std::vector<double> logprobs;
};

struct Onward {
    std::vector<Step> steps;
    std::int32_t code = 0;  // of the decode that failed, if any did; its step is not among `steps`
};

// Reads each text's token and chooses the next, until any text comes to its end. Throws BadLogits.
Onward go_on(const Decoder& decoder, std::vector<Text> texts, std::vector<double> logprobs, const Limits& limits);

}  // namespace edge_wsd
