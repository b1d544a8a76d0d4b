// Turns, and how the browser keeps them.

import { newHead } from "./kept.js";

const SOON_MS = 1000;

/** Its turns are changed by whoever shows them, and kept when told so: one after another, never two at once. */
export class Conversation {
  #first = Infinity; // the first turn that has changed since
  #keeping = null; // while it is kept
  #timer = null; // of what shall be kept soon
  #isForgotten = false;

  /** `store` is null where the browser keeps nothing. `onKept(conversation)` and `onProblem(error)` are called after a try. */
  constructor(store, { head = null, turns = [], onKept, onProblem }) {
    Object.assign(this, { store, head, turns, onKept, onProblem });
  }

  /** The turns from number `first` on have changed. Resolves once they are kept. */
  keep(first) {
    clearTimeout(this.#timer);
    this.#timer = null;
    this.#first = Math.min(this.#first, first);
    this.#keeping ??= this.#keepAll().finally(() => (this.#keeping = null));
    return this.#keeping;
  }

  /** The same, within a second: an answer that is being written changes with every token. */
  keepSoon(first) {
    this.#timer ??= setTimeout(() => this.keep(first), SOON_MS);
  }

  async forget() {
    this.#isForgotten = true;
    clearTimeout(this.#timer);
    await this.#keeping;
    if (this.store && this.head) await this.store.forget(this.head.id);
  }

  async #keepAll() {
    while (this.store && !this.#isForgotten && this.#first < Infinity) {
      const first = this.#first;
      this.#first = Infinity;
      const head = this.head ?? newHead();
      const turns = this.turns.map((turn) => turn.record());
      try {
        this.head = await this.store.save({ ...head, title: turns[0].question }, turns, first);
        this.onKept(this);
      } catch (error) {
        this.#first = Math.min(this.#first, first); // for the next try
        this.onProblem(error);
        return;
      }
    }
  }
}
