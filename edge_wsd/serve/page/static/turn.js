// A question, its answer, and what can be done with them.

import { AnswerView } from "./answer_view.js";
import { copy, el } from "./dom.js";
import { grow, sendOnEnter } from "./prompt_box.js";

/** One turn of a conversation. `onAgain(turn, question)` is called when it shall be answered anew. */
export class Turn {
  constructor(question, answer, { onAgain, onDrawn }) {
    this.question = question;
    this.view = new AnswerView(answer, onDrawn);
    this.onAgain = onAgain;
    this.edited = null; // the text field, while the question is edited
    const button = (name, label, onclick) => el("button", { type: "button", class: `link ${name}`, onclick }, label);
    this.editing = button("edit", "Edit", () => this.edit());
    this.regenerating = button("regenerate", "Regenerate", () => onAgain(this, this.question));
    this.asking = button("main", "Ask again", () => this.#askAgain());
    this.asking.classList.remove("link");
    this.asked = el("div", { class: "question" });
    this.copying = button("copy", "Copy", () => copy(this.answer.text));
    this.actions = el("div", { class: "actions" }, this.copying, this.regenerating);
    this.element = el("article", { class: "turn" },
      el("h2", { class: "unseen" }, "You"), this.asked, el("h2", { class: "unseen" }, "Answer"), this.view.element, this.actions);
    this.#showQuestion();
  }

  get answer() {
    return this.view.answer;
  }

  /** What is kept of it. */
  record() {
    return { question: this.question, answer: this.answer.record() };
  }

  /** While an answer is written there is only one thing to do with it: stop it. Only the last one can be written again. */
  show({ isBusy, isLast }) {
    this.editing.hidden = isBusy;
    this.asking.disabled = isBusy;
    this.actions.hidden = isBusy;
    this.copying.hidden = !this.answer.text;
    this.regenerating.hidden = !isLast;
  }

  /** The question becomes a field, with `text` in it. */
  edit(text = this.question) {
    const field = el("textarea", { "aria-label": "Your question", rows: 1, dir: "auto" });
    field.value = text;
    const leave = () => {
      this.#showQuestion();
      this.editing.focus();
    };
    sendOnEnter(field, () => this.#askAgain());
    this.edited = field;
    this.asked.replaceChildren(field, this.asking,
      el("button", { type: "button", class: "leave", onclick: leave }, "Leave as it is"));
    this.asked.onkeydown = (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation(); // leaves the question, stops no answer
      leave();
    };
    grow(field);
    field.focus();
  }

  #showQuestion() {
    this.edited = null;
    this.asked.onkeydown = null;
    this.asked.replaceChildren(el("p", { class: "asked" }, this.question), this.editing);
  }

  #askAgain() {
    const text = this.edited.value.trim();
    if (text && !this.asking.disabled) this.onAgain(this, text);
  }
}
