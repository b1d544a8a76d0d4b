"""How the demonstration pair is made: wording of questions, replies, corpora, tokenizers, training, a quick check."""
