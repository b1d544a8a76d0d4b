// The text of an answer: a span for each piece of a token, marked by author, and the place of the switch.

import { switchText } from "./answer.js";
import { copy, el } from "./dom.js";

const FENCE = "```";

/**
 * Grows with the answer. Lines between ``` stand in blocks of their own, and so do the lines of a table, which begin with
 * a bar; nothing else in the text means anything.
 */
export class AnswerText {
  /** `onToken(position, span)` is called when a token is pointed at or comes into focus, and with null afterwards. */
  constructor(onToken) {
    this.element = el("div", { class: "text", role: "group", "aria-label": "Answer; arrow keys go from token to token" });
    this.onToken = onToken;
    this.kind = null; // of the block that is being written: "prose", "table" or "code"
    this.block = null; // what its spans are in
    this.isInCode = false; // whether its last ``` is to come
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
    if (author === "base" && this.author === "drafter" && taken) this.#addMark(taken);
    this.author = author;
    for (const part of text.split(/(?<=\n)/)) this.#addPart(position, author, part);
  }

  /** The spans of the token at `position`. */
  spans(position) {
    return this.element.querySelectorAll(`[data-position="${position}"]`);
  }

  #addMark(taken) {
    const text = switchText(taken);
    this.#place(el("span", { class: "switch-mark", role: "img", "aria-label": text, title: text }, "⇥"));
  }

  #addPart(position, author, text) {
    const isFirst = !this.element.querySelector("[data-position]");
    this.line += text;
    this.#place(el("span",
      { class: `token ${author}`, "data-position": position, "aria-describedby": "tip", tabindex: isFirst ? 0 : -1 }, text));
    if (!this.line.endsWith("\n")) return;
    if (this.#isFence) this.isInCode = !this.isInCode;
    if (this.#isFence && !this.isInCode) this.kind = null; // what follows, even code, is another block
    this.line = "";
    this.lineSpans = [];
  }

  /** Puts a span into its line. What the line is may be seen only now: then all of it moves into another block. */
  #place(span) {
    this.lineSpans.push(span);
    const isFence = this.#isFence;
    const kind = this.isInCode || isFence ? "code" : this.line.trimStart().startsWith("|") ? "table" : "prose";
    if (kind === this.kind) this.block.append(span);
    else this.#begin(kind);
    if (isFence) for (const each of this.lineSpans) each.classList.add("fence");
  }

  #begin(kind) {
    const before = this.element.lastElementChild;
    this.kind = kind;
    this.block = el(kind === "code" ? "code" : "div", {}, ...this.lineSpans);
    if (before && !before.querySelector("span")) before.remove(); // all of it was this line
    this.element.append(el("div", { class: kind }, ...(kind === "code" ? [this.#copying(this.block)] : []), this.block));
  }

  #copying(code) {
    const onclick = () => copy([...code.querySelectorAll(".token:not(.fence)")].map((span) => span.textContent).join(""));
    return el("button", { type: "button", class: "link", "aria-label": "Copy this code", onclick }, "Copy");
  }

  get #isFence() {
    return this.line.trimStart().startsWith(FENCE);
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
