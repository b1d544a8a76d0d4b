// The signal of an answer: how probable each token is to the base, the confidence, the threshold, the switch.

import { probability, switchText } from "./answer.js";
import { svg } from "./dom.js";

const HEIGHT = 132;
const MARGIN = { top: 18, right: 10, bottom: 20, left: 34 };
const FEWEST = 16; // tokens that the axis has room for at least, so that the first ones do not jump about

/** An SVG that is drawn anew when its answer or its width changes. */
export class SignalPlot {
  /** `onToken(position, element, x)` as for `AnswerText`; `x` is where on the screen. */
  constructor(answer, onToken) {
    this.answer = answer;
    this.onToken = onToken;
    this.marked = null;
    this.element = svg("svg", { class: "signal", role: "img", height: HEIGHT });
    this.element.addEventListener("pointermove", (event) => this.#point(event));
    this.element.addEventListener("pointerdown", (event) => this.#point(event));
    this.element.addEventListener("pointerleave", () => this.onToken(null));
    this.width = 0; // told by the browser: to ask for it would cost a layout of the page, for each of many plots
    new ResizeObserver(([{ contentRect }]) => {
      this.width = contentRect.width;
      this.draw();
    }).observe(this.element);
  }

  /** Marks the token at `position`, or none. */
  mark(position) {
    this.marked = position;
    this.draw();
  }

  draw() {
    if (!this.width) return; // not on the screen
    this.element.setAttribute("viewBox", `0 0 ${this.width} ${HEIGHT}`);
    this.element.setAttribute("aria-label", this.#description());
    this.element.replaceChildren(...this.#turns(), ...this.#axes(), ...this.#values(), ...this.#limit(), ...this.#marks());
  }

  get #nShown() {
    return Math.max(FEWEST, this.answer.tokens.length);
  }

  #x(position) {
    return MARGIN.left + ((position + 0.5) / this.#nShown) * (this.width - MARGIN.left - MARGIN.right);
  }

  #y(share) {
    return MARGIN.top + (1 - share) * (HEIGHT - MARGIN.top - MARGIN.bottom);
  }

  /** Tinted ground behind what the drafter wrote. */
  #turns() {
    const step = this.#x(1) - this.#x(0);
    const turns = [];
    this.answer.tokens.forEach((token, position) => {
      const last = turns.at(-1);
      if (last?.author === token.author && last.end === position) last.end += 1;
      else turns.push({ author: token.author, start: position, end: position + 1 });
    });
    return turns.map(({ author, start, end }) =>
      svg("rect", { class: `ground ${author}`, x: this.#x(start) - step / 2, width: (end - start) * step,
        y: MARGIN.top, height: HEIGHT - MARGIN.top - MARGIN.bottom }));
  }

  #axes() {
    const right = this.width - MARGIN.right;
    const lines = [0, 0.5, 1].flatMap((share) => [
      svg("line", { class: "grid", x1: MARGIN.left, x2: right, y1: this.#y(share), y2: this.#y(share) }),
      svg("text", { class: "scale", x: MARGIN.left - 6, y: this.#y(share) + 4, "text-anchor": "end" }, share.toString()),
    ]);
    const n = this.answer.tokens.length;
    const at = (position, anchor) =>
      svg("text", { class: "scale", x: this.#x(position), y: HEIGHT - 6, "text-anchor": anchor }, `${position + 1}`);
    const rest = n > 1 ? [at(n - 1, "end")] : [];
    return [...lines, ...(n ? [at(0, "middle")] : []), ...rest];
  }

  /** Where the base takes over by the rule `window`, or is sure enough by `nudge`. */
  #limit() {
    const limit = limitOf(this.answer.options);
    if (!limit) return [];
    const y = this.#y(limit.at);
    const below = limit.at > 0.8; // the line of a high limit leaves no room above it
    return [
      svg("line", { class: "limit", x1: MARGIN.left, x2: this.width - MARGIN.right, y1: y, y2: y }),
      svg("text", { class: "limit-name", x: this.width - MARGIN.right - 4, y: below ? y + 13 : y - 5, "text-anchor": "end" },
        `${limit.name} ${limit.at}`),
    ];
  }

  #values() {
    const dots = { drafter: "", base: "" };
    let line = "";
    let joined = false;
    this.answer.tokens.forEach((token, position) => {
      const share = probability(token);
      if (share !== null) dots[token.author] += `M${this.#at(position, share)}h0`;
      if (token.confidence === null) joined = false;
      else {
        line += `${joined ? "L" : "M"}${this.#at(position, token.confidence)}${joined ? "" : "h0"}`;
        joined = true;
      }
    });
    const paths = Object.entries(dots).map(([author, d]) => svg("path", { class: `probability ${author}`, d }));
    return [...paths, svg("path", { class: "confidence", d: line })];
  }

  #at(position, share) {
    return `${this.#x(position).toFixed(1)} ${this.#y(share).toFixed(1)}`;
  }

  #marks() {
    const marks = [];
    const taken = this.answer.options.rule === "nudge" ? null : this.answer.switch;
    if (taken) {
      const x = (this.#x(taken.index) + this.#x(taken.index + 1)) / 2;
      const left = x > this.width * 0.7;
      marks.push(
        svg("line", { class: "switch", x1: x, x2: x, y1: MARGIN.top - 6, y2: HEIGHT - MARGIN.bottom }),
        svg("text", { class: "switch-name", x: left ? x - 5 : x + 5, y: MARGIN.top - 7, "text-anchor": left ? "end" : "start" },
          taken.confidence === null ? "switch" : `switch at ${taken.confidence.toFixed(2)}`));
    }
    const token = this.answer.tokens[this.marked];
    if (token && probability(token) !== null) {
      marks.push(svg("circle", { class: "pointed", cx: this.#x(this.marked), cy: this.#y(probability(token)), r: 6 }));
    }
    return marks;
  }

  #point(event) {
    const left = this.element.getBoundingClientRect().left;
    const share = (event.clientX - left - MARGIN.left) / (this.width - MARGIN.left - MARGIN.right);
    const position = Math.floor(share * this.#nShown);
    const known = position >= 0 && this.answer.tokens[position];
    this.onToken(known ? position : null, this.element, event.clientX);
  }

  /** For those who cannot see it. */
  #description() {
    const { tokens, options } = this.answer;
    const known = tokens.map((token) => token.confidence).filter((confidence) => confidence !== null);
    const limit = limitOf(options);
    const parts = ["How probable each token is"];
    if (known.length) parts.push(`confidence from ${known[0].toFixed(2)} to ${known.at(-1).toFixed(2)}`);
    if (limit) parts.push(`${limit.name} ${limit.at}`);
    if (this.answer.switch && options.rule !== "nudge") parts.push(switchText(this.answer.switch));
    return parts.join("; ");
  }
}

function limitOf({ mode, rule, threshold, nudge_below }) {
  if (mode !== "wsd") return null;
  return rule === "nudge" ? { name: "unsure below", at: nudge_below } : { name: "threshold", at: threshold };
}
