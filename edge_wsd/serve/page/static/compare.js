// One question, answered by the base alone, by the drafter alone, and by both.

import { Answer } from "./answer.js";
import { AnswerView } from "./answer_view.js";
import { el, find } from "./dom.js";
import { PromptBox, showExamples } from "./prompt_box.js";

const MODES = { base: "Base alone", drafter: "Drafter alone", wsd: "Both, weak-to-strong" };

/** Three columns with the same settings and the same seed. */
export class Compare {
  constructor(root, settings) {
    this.settings = settings;
    this.columns = find("#columns", root);
    this.examples = find(".examples", root);
    this.views = [];
    this.box = new PromptBox(find("form", root), (question) => this.ask(question), () => this.stop());
  }

  showPair(pair) {
    showExamples(this.examples, pair.examples, (question) => {
      if (this.box.isBusy) return;
      this.box.field.value = question;
      this.box.send(question);
    });
  }

  /** One after another: at the same time they would wait for one another, and their times would say nothing. */
  async ask(question) {
    if (!this.settings.check()) return;
    const seed = this.settings.commonSeed();
    const messages = [{ role: "user", content: question }];
    const requests = Object.keys(MODES).map((mode) => this.settings.request(messages, { mode, seed }));
    this.views = requests.map(([, options]) => new AnswerView(new Answer(options)));
    this.columns.replaceChildren(...Object.values(MODES).map((name, i) =>
      el("section", { class: "column", "aria-label": name }, el("h2", {}, name), this.views[i].element)));
    this.box.setBusy(true);
    try {
      for (const [i, view] of this.views.entries()) await view.run(requests[i][0]);
    } finally {
      this.box.setBusy(false);
    }
  }

  stop() {
    for (const view of this.views) view.stop();
  }
}
