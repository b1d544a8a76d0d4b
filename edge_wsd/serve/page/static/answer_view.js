// An answer on the page: its text, the signal under it, one line of facts. Can ask for it and stop it.

import { ServerError, streamChat } from "./api.js";
import { summary } from "./answer.js";
import { AnswerText } from "./answer_text.js";
import { announce, eachFrame, el } from "./dom.js";
import { SignalPlot } from "./signal_plot.js";
import { hideTip, isTipShown, showTip } from "./tip.js";
import { tokenFacts } from "./token_facts.js";

const UNAUTHORIZED = 401;
const LONG_S = 3; // from then on it is told how long it takes

/** One answer, whole or still to come. */
export class AnswerView {
  /** `onDrawn()` is called when it may have grown. */
  constructor(answer, onDrawn = () => {}) {
    this.answer = answer;
    this.onDrawn = onDrawn;
    this.pointed = null; // {position, element, x}: what the tip is about
    this.askedAt = null;
    const onToken = (position, element, x) => this.#point(position, element, x);
    this.text = new AnswerText(onToken);
    this.plot = new SignalPlot(this.answer, onToken);
    this.facts = el("p", { class: "facts" });
    this.problem = el("p", { class: "problem", role: "alert", hidden: true });
    this.element = el("div", { class: "answer" }, this.text.element, this.plot.element, this.problem, this.facts);
    this.control = new AbortController();
    this.draw = eachFrame(() => this.#draw());
    this.#add(answer.pieces);
    this.#draw();
  }

  /** Reads the answer to a request to its end. Whatever happens becomes part of the answer; nothing is raised. */
  async run(body, onChunk = () => {}) {
    const { answer } = this;
    this.askedAt = performance.now();
    const waiting = setInterval(this.draw, 1000); // how long it takes changes, even if nothing else does
    try {
      for await (const chunk of streamChat(body, this.control.signal)) {
        this.#add(answer.take(chunk));
        this.draw();
        onChunk();
      }
    } catch (error) {
      if (error.name === "AbortError") answer.end("cancelled");
      else answer.end("error", error.message);
      if (error.status === UNAUTHORIZED) document.dispatchEvent(new Event("key-refused"));
      if (!(error instanceof ServerError) && error.name !== "AbortError") throw error; // ours: the console has it
    } finally {
      clearInterval(waiting);
      this.draw();
    }
    announce(answer.problem ? "" : `${answer.text} ${summary(answer)}`);
  }

  stop() {
    this.control.abort();
  }

  #add(pieces) {
    const { options } = this.answer;
    for (const piece of pieces) this.text.add(piece, options.rule === "nudge" ? null : this.answer.switch);
  }

  #draw() {
    const { answer } = this;
    this.element.setAttribute("aria-busy", String(answer.isWriting));
    this.facts.textContent = this.#facts();
    this.problem.hidden = answer.problem === null;
    this.problem.textContent = answer.problem ?? "";
    this.plot.element.classList.toggle("empty", answer.tokens.length === 0); // keeps its place
    this.plot.element.classList.toggle("gone", answer.tokens.length === 0 && !answer.isWriting);
    this.plot.draw();
    if (this.pointed && isTipShown()) this.#tell(); // its score may have come
    this.onDrawn();
  }

  #facts() {
    const { answer } = this;
    if (answer.isWriting && this.askedAt === null) return "waiting for its turn …";
    const seconds = Math.floor((performance.now() - this.askedAt) / 1000);
    return answer.isWriting && seconds >= LONG_S ? `${summary(answer)} ${seconds} s` : summary(answer);
  }

  #point(position, element, x) {
    for (const span of this.element.querySelectorAll(".pointed")) span.classList.remove("pointed");
    const isToken = position !== null && this.answer.tokens[position];
    this.pointed = isToken ? { position, element, x } : null;
    this.plot.mark(isToken ? position : null);
    if (!isToken) return hideTip();
    for (const span of this.text.spans(position)) span.classList.add("pointed");
    this.#tell();
  }

  #tell() {
    const { position, element, x } = this.pointed;
    showTip(tokenFacts(this.answer, position), element, x);
  }
}
