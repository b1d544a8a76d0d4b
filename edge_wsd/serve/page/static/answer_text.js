// The text of an answer: a span for each piece of a token, marked by author, and the place of the switch.

import { AUTHORS, switchText } from "./answer.js";
import { el } from "./dom.js";

const FENCE = "```";

/** Grows with the answer. Lines between ``` stand in blocks of their own; nothing else in the text means anything. */
export class AnswerText {
  /** `onToken(position, span)` is called when a token is pointed at or comes into focus, and with null afterwards. */
  constructor(onToken) {
    this.element = el("div", { class: "text", role: "group", "aria-label": "Answer; arrow keys go from token to token" });
    this.onToken = onToken;
    this.block = null;
    this.line = ""; // the line that is being written, and its spans
    this.lineSpans = [];
    this.author = null;
    for (const [name, away] of [["pointerover", "pointerout"], ["focusin", "focusout"]]) {
      this.element.addEventListener(name, (event) => this.#point(event.target));
      this.element.addEventListener(away, () => this.onToken(null));
    }
    this.element.addEventListener("click", (event) => this.#point(event.target)); // a tap hovers nowhere
    this.element.addEventListener("keydown", (event) => this.#walk(event));
  }

  /** Adds a piece. `taken` is the switch if the base's turn begins with it, by the rule `window`. */
  add({ position, author, text }, taken) {
    if (author === "base" && this.author === "drafter" && taken) this.#mark(taken);
    this.author = author;
    for (const part of text.split(/(?<=\n)/)) this.#addPart(position, author, part);
  }

  /** The spans of the token at `position`. */
  spans(position) {
    return this.element.querySelectorAll(`[data-position="${position}"]`);
  }

  #addPart(position, author, text) {
    this.block ??= this.#newBlock("prose");
    const first = !this.element.querySelector("[data-position]");
    const span = el("span", { class: `token ${author}`, "data-position": position, tabindex: first ? 0 : -1 }, text);
    this.block.append(span);
    this.line += text;
    this.lineSpans.push(span);
    const isFence = this.line.startsWith(FENCE);
    if (isFence) for (const each of this.lineSpans) each.classList.add("fence");
    if (isFence && !this.block.matches(".code")) {
      this.block = this.#newBlock("code");
      this.block.append(...this.lineSpans);
      this.opening = true;
    }
    if (!this.line.endsWith("\n")) return;
    if (isFence && !this.opening) this.block = null; // the next line is prose again
    this.opening = false;
    this.line = "";
    this.lineSpans = [];
  }

  #newBlock(kind) {
    const block = el(kind === "code" ? "code" : "div", { class: kind });
    this.element.append(block);
    return block;
  }

  #mark(taken) {
    this.block ??= this.#newBlock("prose");
    const mark = el("span", { class: "switch-mark", role: "img", "aria-label": switchText(taken), title: switchText(taken) }, "⇥");
    this.block.append(mark);
    this.lineSpans.push(mark);
  }

  #point(target) {
    const span = target.closest("[data-position]");
    if (span) this.onToken(Number(span.dataset.position), span);
  }

  /** One stop of the Tab key for the whole text; inside it, arrows. */
  #walk(event) {
    const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -Infinity, End: Infinity };
    const step = steps[event.key];
    const spans = [...this.element.querySelectorAll("[data-position]")];
    const at = spans.indexOf(event.target);
    if (step === undefined || at < 0) return;
    event.preventDefault();
    const next = spans[Math.max(0, Math.min(spans.length - 1, at + step))];
    spans[at].tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  }
}

/** What is known about one token, in lines. */
export function tokenLines(token, position, options) {
  const lines = [`${JSON.stringify(token.text)} · token ${position + 1}, by ${AUTHORS[token.author]}`];
  const reader = options.mode === "drafter" ? "the drafter" : "the base";
  if (token.logprob === null) lines.push(`${reader} has not read it yet`);
  else lines.push(`probability to ${reader} ${formatted(Math.exp(token.logprob))} (log ${signed(token.logprob)})`);
  if (token.confidence !== null) {
    lines.push(`confidence ${token.confidence.toFixed(3)}; the base takes over from ${options.threshold} on`);
  }
  return lines;
}

const signed = (logprob) => (logprob > -0.005 ? "0.00" : logprob.toFixed(2).replace("-", "−"));

function formatted(probability) {
  return probability >= 0.001 || probability === 0 ? probability.toFixed(3) : probability.toExponential(1);
}
