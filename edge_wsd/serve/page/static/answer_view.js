// An answer on the page: its text, the signal under it, one line of facts. Asks for it and can stop it.

import { ServerError, streamChat } from "./api.js";
import { Answer, summary } from "./answer.js";
import { AnswerText, tokenLines } from "./answer_text.js";
import { announce, eachFrame, el } from "./dom.js";
import { SignalPlot } from "./signal_plot.js";
import { hideTip, showTip } from "./tip.js";

const UNAUTHORIZED = 401;

/** One answer to one request. */
export class AnswerView {
  /** `body` is the request, `options` what its answer is measured by; `onDrawn()` is called when it may have grown. */
  constructor([body, options], onDrawn = () => {}) {
    this.body = body;
    this.onDrawn = onDrawn;
    this.answer = new Answer(options);
    const onToken = (position, element, x) => this.#point(position, element, x);
    this.text = new AnswerText(onToken);
    this.plot = new SignalPlot(this.answer, onToken);
    this.facts = el("p", { class: "facts" });
    this.problem = el("p", { class: "problem", role: "alert", hidden: true });
    this.element = el("div", { class: "answer", "aria-busy": "true" },
      this.text.element, this.plot.element, this.problem, this.facts);
    this.control = new AbortController();
    this.draw = eachFrame(() => this.#draw());
  }

  /** Reads the answer to its end. Whatever happens becomes part of the answer; nothing is raised. */
  async run() {
    const { answer } = this;
    this.draw();
    try {
      for await (const chunk of streamChat(this.body, this.control.signal)) {
        for (const piece of answer.take(chunk)) {
          this.text.add(piece, answer.options.rule === "nudge" ? null : answer.switch);
        }
        this.draw();
      }
    } catch (error) {
      if (error.name === "AbortError") answer.end("cancelled");
      else answer.end("error", error.message);
      if (error.status === UNAUTHORIZED) document.dispatchEvent(new Event("key-refused"));
      if (!(error instanceof ServerError) && error.name !== "AbortError") throw error; // ours: the console has it
    } finally {
      this.draw();
    }
    announce(answer.problem ? "" : summary(answer));
    return answer;
  }

  stop() {
    this.control.abort();
  }

  #draw() {
    const { answer } = this;
    this.element.setAttribute("aria-busy", String(answer.isWriting));
    this.facts.textContent = summary(answer);
    this.problem.hidden = answer.problem === null;
    this.problem.textContent = answer.problem ?? "";
    this.plot.element.classList.toggle("empty", answer.tokens.length === 0);
    this.plot.draw();
    this.onDrawn();
  }

  #point(position, element, x) {
    for (const span of this.element.querySelectorAll(".pointed")) span.classList.remove("pointed");
    const token = position === null ? null : this.answer.tokens[position];
    this.plot.mark(token ? position : null);
    if (!token) return hideTip();
    for (const span of this.text.spans(position)) span.classList.add("pointed");
    showTip(tokenLines(token, position, this.answer.options), element, x);
  }
}
