// Where a question is typed, with the buttons that send it and stop its answer.

import { el, find } from "./dom.js";

const COMPOSING = 229; // Safari tells of the end of a composed character before the key that ended it

/** A form with one growing text field. Enter sends, Shift+Enter begins a line. */
export class PromptBox {
  /** `onSend(text)` is called with a question that is not empty; `onStop()` while the form is busy. */
  constructor(form, onSend, onStop) {
    this.field = find("textarea", form);
    this.sending = find("button.main", form);
    this.stopping = find("button.stop", form);
    this.isBusy = false;
    this.onSend = onSend;
    this.onStop = onStop;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.send(this.field.value);
    });
    sendOnEnter(this.field, () => this.send(this.field.value));
    this.stopping.addEventListener("click", onStop);
  }

  send(text) {
    if (this.isBusy || !text.trim()) return;
    this.onSend(text.trim());
  }

  clear() {
    this.field.value = "";
    grow(this.field);
  }

  /** Shows one of the two buttons, and keeps the focus on what can be used. */
  setBusy(isBusy) {
    this.isBusy = isBusy;
    const hadFocus = [this.sending, this.stopping].includes(document.activeElement);
    this.sending.hidden = isBusy;
    this.stopping.hidden = !isBusy;
    if (hadFocus) (isBusy ? this.stopping : this.field).focus();
  }
}

/** Enter sends, but not the one that ends a composed character. The field is as high as its text. */
export function sendOnEnter(field, send) {
  field.addEventListener("input", () => grow(field));
  field.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === COMPOSING) return;
    event.preventDefault();
    send();
  });
}

export function grow(field) {
  field.style.height = "auto";
  field.style.height = `${field.scrollHeight + 2}px`;
}

/** Questions to begin with, as buttons in `list`. */
export function showExamples(list, questions, onQuestion) {
  list.replaceChildren(...questions.map((question) =>
    el("li", {}, el("button", { type: "button", class: "example", onclick: () => onQuestion(question) }, question))));
}
