// The conversations that the browser keeps, to be opened again or forgotten.

import { el, find } from "./dom.js";

const DAY = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

/** A list, the one that changed last at the top. */
export class Earlier {
  #told = null; // what the list says

  /**
   * `ask(work)` gives the result of `work(store)`, or nothing if that fails. `onOpen(head)` and `onForget(head)` are called
   * when one is chosen, `onForgetAll()` for all of them.
   */
  constructor(root, { ask, onOpen, onForget, onForgetAll }) {
    Object.assign(this, { root, ask, onOpen, onForget });
    find(".forget-all", root).addEventListener("click", onForgetAll);
  }

  /** Shows them as they are now, or hides them. */
  async show(isWanted) {
    const heads = isWanted ? ((await this.ask((store) => store.heads())) ?? []) : [];
    this.root.hidden = heads.length === 0;
    const told = JSON.stringify(heads);
    if (told === this.#told) return; // else what has the focus would lose it
    this.#told = told;
    find("ul", this.root).replaceChildren(...heads.map((head) => this.#row(head)));
  }

  #row(head) {
    const button = (properties, onclick, text) => el("button", { type: "button", ...properties, onclick }, text);
    return el("li", {},
      button({ class: "open", dir: "auto" }, () => this.onOpen(head), head.title),
      el("span", { class: "hint" }, DAY.format(head.changed)),
      button({ class: "link", "aria-label": `Forget “${head.title}”` }, () => this.onForget(head), "Forget"));
  }
}
