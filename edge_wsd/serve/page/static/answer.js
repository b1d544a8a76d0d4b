// One answer, as far as it has arrived: its text in pieces, who wrote them, and how sure the base is.

/** What a request asks, and what its answer has become. Draws nothing. */
export class Answer {
  /** `options`: those of the request, with `mode`, `rule`, `threshold`, `window` and `nudge_below`. */
  constructor(options) {
    this.options = options;
    this.pieces = []; // {position, author, text}, in the order in which they are shown
    this.tokens = []; // by position: {text, author, logprob, confidence}
    this.scores = []; // by position: {logprob, confidence}, of drafted tokens; may come before the token itself
    this.ranked = []; // by position: {token, top}, what stands there and [{token, logprob}], the likeliest
    this.switch = null; // {index, reason, confidence}
    this.reading = null; // {model, n_read, n_tokens}
    this.dropped = 0;
    this.stats = null;
    this.seed = null;
    this.note = null;
    this.finish = null; // "stop", "length", "cancelled", "left", or "error"
    this.problem = null;
  }

  /** One that was kept. If it was still being written, nobody writes it on. */
  static of(record) {
    const answer = Object.assign(new Answer(record.options), record);
    if (answer.isWriting) answer.end("left");
    return answer;
  }

  /** What is kept of it. */
  record() {
    return { ...this, scores: [], reading: null };
  }

  get text() {
    return this.pieces.map((piece) => piece.text).join("");
  }

  get isWriting() {
    return this.finish === null;
  }

  /** Whether it ended otherwise than it should have. */
  get isBroken() {
    return ["cancelled", "left", "error"].includes(this.finish);
  }

  /** Takes one chunk of the stream in, and returns the new pieces of text. */
  take(chunk) {
    const choice = chunk.choices?.[0];
    if (choice?.finish_reason) this.end(choice.finish_reason);
    for (const { token, top_logprobs } of choice?.logprobs?.content ?? []) { // in the order of positions, none left out
      this.ranked.push({ token, top: top_logprobs.map((each) => ({ token: each.token, logprob: each.logprob })) });
    }
    const extension = chunk.edge_wsd;
    if (!extension) return [];
    if (extension.reading) this.reading = extension.reading;
    if (extension.dropped) this.dropped += extension.dropped;
    if (extension.switch) this.switch = extension.switch;
    const pieces = (extension.tokens ?? []).map((token) => this.#add(token)).filter((piece) => piece.text);
    if (extension.scored) this.#score(extension.scored);
    for (const name of ["stats", "seed", "note"]) this[name] = extension[name] ?? this[name];
    if (this.stats) this.tokens.length = Math.min(this.tokens.length, this.stats.n_tokens);
    return pieces;
  }

  end(finish, problem = null) {
    this.finish ??= finish;
    this.problem = problem ?? this.problem;
    this.reading = null;
  }

  /** A position may come twice: with text that was held back, or with another cut of the same text. */
  #add({ position, text, author, logprob, confidence }) {
    this.reading = null;
    const known = this.tokens[position];
    const shown = (known?.text ?? "") + text;
    const score = { ...this.scores[position] };
    this.tokens[position] = {
      text: shown,
      author,
      logprob: logprob ?? score.logprob ?? null,
      confidence: confidence ?? score.confidence ?? null,
    };
    const piece = { position, author, text };
    this.pieces.push(piece);
    return piece;
  }

  #score({ first, logprobs, confidences }) {
    logprobs.forEach((logprob, i) => {
      const score = { logprob, confidence: confidences[i] };
      this.scores[first + i] = score;
      if (this.tokens[first + i]?.author === "drafter") Object.assign(this.tokens[first + i], score);
    });
  }
}

/** From 0 to 1; null while nobody has scored the token. */
export function probability(token) {
  return token.logprob === null ? null : Math.exp(token.logprob);
}

export const percent = (share) => {
  const digits = share > 0.995 && share < 1 ? 2 : share < 0.01 ? 2 : 0;
  return `${(100 * share).toFixed(digits)} %`;
};

/** Models by their role in a sentence. */
export const AUTHORS = { drafter: "the drafter", base: "the base" };

const REASONS = {
  confident: "confident enough",
  draft_limit: "the draft reached its limit",
  draft_ended: "the drafter had ended its text",
  forced: "as asked for",
};

/** Why the base took over, in one line. */
export function switchText({ index, reason, confidence }) {
  const sure = confidence === null ? "" : `, confidence ${confidence.toFixed(2)}`;
  return `the base takes over after ${count(index + 1, "token")} (${REASONS[reason] ?? reason}${sure})`;
}

export const count = (n, noun) => `${n} ${noun}${n === 1 ? "" : "s"}`;

/** What is known about an answer, in one line. */
export function summary(answer) {
  const { stats, finish, reading, options } = answer;
  if (answer.isWriting) {
    if (reading) return `${AUTHORS[reading.model]} reads ${reading.n_read} of ${count(reading.n_tokens, "token")} …`;
    return answer.tokens.length ? "writing …" : "waiting for the first word …";
  }
  const parts = [];
  if (finish === "cancelled") parts.push("stopped");
  if (finish === "left") parts.push("broken off when the page was left");
  if (finish === "length") parts.push("cut off at max tokens");
  if (answer.switch && options.rule !== "nudge") parts.push(switchText(answer.switch));
  if (stats) parts.push(...figures(stats, options.mode));
  if (answer.seed !== null) parts.push(`seed ${answer.seed}`);
  if (answer.dropped) parts.push(`${count(answer.dropped, "old message")} left out, for want of room`);
  if (answer.note) parts.push(answer.note);
  return parts.join(" · ");
}

function figures(stats, mode) {
  const parts = [count(stats.n_tokens, "token")];
  if (mode === "wsd") parts.push(`${percent(stats.draft_share)} by the drafter`);
  parts.push(`first word after ${seconds(stats.ttft_s)}`, `all in ${seconds(stats.total_s)}`);
  return parts;
}

function seconds(s) {
  return s < 1 ? `${Math.round(1000 * s)} ms` : `${s.toFixed(1)} s`;
}
