// The conversation: questions and answers, one under the other.

import { AnswerView } from "./answer_view.js";
import { announce, el, find } from "./dom.js";
import { grow, PromptBox, sendOnEnter, showExamples } from "./prompt_box.js";

/** Questions can be edited and the last answer written again; what came after an edited question is left out. */
export class Chat {
  constructor(root, settings) {
    this.settings = settings;
    this.list = find("#turns", root);
    this.welcome = find(".welcome", root);
    this.examples = find(".examples", root);
    this.clearing = find(".clear", root);
    this.turns = []; // {question, view, element}
    this.box = new PromptBox(find("form", root), (question) => this.ask(question), () => this.stop());
    this.follows = true;
    this.clearing.addEventListener("click", () => this.clear());
    addEventListener("scroll", () => {
      const page = document.documentElement;
      this.follows = page.scrollHeight - page.clientHeight - page.scrollTop < 40;
    }, { passive: true });
  }

  showPair(pair) {
    const note = find(".note", this.welcome);
    note.textContent = pair.remarks.map(asSentence).join(" ");
    note.hidden = pair.remarks.length === 0;
    showExamples(this.examples, pair.examples, (question) => this.box.send(question));
  }

  /** Asks, as the next turn. */
  async ask(question) {
    if (!this.settings.check()) return;
    this.box.clear();
    await this.#answer({ question, view: null, element: el("article", { class: "turn" }) });
  }

  stop() {
    this.turns.at(-1)?.view.stop();
  }

  clear() {
    this.stop();
    this.turns = [];
    this.#redraw();
    this.box.field.focus();
  }

  async #answer(turn) {
    const messages = [...this.#messages(), { role: "user", content: turn.question }];
    turn.view = new AnswerView(this.settings.request(messages), () => this.#follow());
    this.turns.push(turn);
    this.#redraw();
    this.#fill(turn);
    this.follows = true;
    this.#follow();
    this.box.setBusy(true);
    this.#showActions(false);
    try {
      await turn.view.run();
    } finally {
      if (this.turns.at(-1) === turn || !this.turns.length) this.box.setBusy(false);
      this.#showActions(true);
    }
  }

  /** What the models are told of the turns so far: those that have an answer. */
  #messages() {
    return this.turns.filter(({ view }) => view.answer.text).flatMap(({ question, view }) => [
      { role: "user", content: question },
      { role: "assistant", content: view.answer.text },
    ]);
  }

  #redraw() {
    this.list.replaceChildren(...this.turns.map((turn) => turn.element));
    this.welcome.hidden = this.turns.length > 0;
    this.clearing.hidden = this.turns.length === 0;
  }

  #fill(turn) {
    const button = (name, label, onclick) => el("button", { type: "button", class: `link ${name}`, onclick }, label);
    turn.element.replaceChildren(
      el("h2", { class: "unseen" }, "You"),
      el("div", { class: "question" }, el("p", { class: "asked" }, turn.question),
        button("edit", "Edit", () => this.#edit(turn))),
      el("h2", { class: "unseen" }, "Answer"),
      turn.view.element,
      el("div", { class: "actions" },
        button("copy", "Copy", () => copy(turn.view.answer.text)),
        button("regenerate", "Regenerate", () => this.#again(turn, turn.question))));
  }

  /** While an answer is written there is only one thing to do with it: stop it. */
  #showActions(areShown) {
    for (const turn of this.turns) {
      find(".edit", turn.element).hidden = !areShown;
      find(".actions", turn.element).hidden = !areShown;
      find(".regenerate", turn.element).hidden = turn !== this.turns.at(-1);
    }
  }

  /** Answers `turn` anew, and forgets what came after it. */
  async #again(turn, question) {
    if (this.box.isBusy || !this.settings.check()) return;
    this.turns.length = this.turns.indexOf(turn);
    const answered = this.#answer({ ...turn, question });
    this.box.stopping.focus();
    await answered;
  }

  #edit(turn) {
    const field = el("textarea", { "aria-label": "Your question", rows: 1 });
    field.value = turn.question;
    const leave = () => {
      this.#fill(turn);
      this.#showActions(true);
      find(".edit", turn.element).focus();
    };
    const save = () => field.value.trim() && this.#again(turn, field.value.trim());
    sendOnEnter(field, save);
    field.addEventListener("keydown", (event) => event.key === "Escape" && leave());
    find(".question", turn.element).replaceChildren(field,
      el("button", { type: "button", class: "main", onclick: save }, "Ask again"),
      el("button", { type: "button", class: "leave", onclick: leave }, "Leave as it is"));
    grow(field);
    field.focus();
  }

  /** Keeps the end in sight, unless the reader has scrolled elsewhere. */
  #follow() {
    if (this.follows) scrollTo(0, document.documentElement.scrollHeight);
  }
}

const asSentence = (text) => text[0].toUpperCase() + text.slice(1).replace(/[^.]$/, "$&.");

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    announce("copied");
  } catch {
    announce("the browser does not let this page copy; select the text instead");
  }
}
